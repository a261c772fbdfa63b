"""asyncio streams: a server that sends back what it gets, and clients that check it."""
import asyncio
import hashlib
import random
import sys

CLIENTS, SMALL, LARGE, LONGEST, LARGEST, AGAIN = 4, 1500, 20, 400_000, 8 << 20, 500


async def echo(reader, writer):
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


def lengths(dice):
    """Of the bodies: many small ones, some large ones, and small ones again."""
    yield from (dice.randint(1, 1000) for _ in range(SMALL))
    yield from (dice.randint(1, LONGEST) for _ in range(LARGE))
    yield LARGEST
    yield from (dice.randint(1, 1000) for _ in range(AGAIN))


async def talk(seed, host, port):
    reader, writer = await asyncio.open_connection(host, port)
    dice, digest = random.Random(seed), hashlib.sha256()
    for request, length in enumerate(lengths(dice)):
        body = dice.randbytes(length)
        writer.write(body)
        answer = await reader.readexactly(len(body))
        assert answer == body, f"request {request} was answered with other bytes"
        digest.update(answer)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    return digest.hexdigest()


async def main(role, host, port):
    if role == "server":
        await (await asyncio.start_server(echo, host, port)).serve_forever()
    print(await asyncio.gather(*(talk(seed, host, port) for seed in range(CLIENTS))))


asyncio.run(main(*sys.argv[1:]))
