"""Stores values of all sizes in memcached, many requests in flight, and checks what comes back."""
import asyncio
import hashlib
import random
import sys

CLIENTS, VALUES, LONGEST, SMALL = 4, 150, 200_000, 1500


async def talk(seed, host, port):
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    dice, digest = random.Random(seed), hashlib.sha256()
    values = [dice.randbytes(dice.choice([dice.randint(1, 100), dice.randint(1, LONGEST)])) for _ in range(VALUES)]

    async def send(requests):
        for request in requests:
            writer.write(request)
            await writer.drain()

    sets = (b"set %d-%d 0 0 %d\r\n%b\r\n" % (seed, n, len(value), value) for n, value in enumerate(values))
    sending = asyncio.create_task(send(sets))
    for _ in values:
        assert await reader.readline() == b"STORED\r\n"
    await sending
    for _ in range(3):
        sending = asyncio.create_task(send(b"get %d-%d\r\n" % (seed, n) for n in range(VALUES)))
        for n, value in enumerate(values):
            head = b"VALUE %d-%d 0 %d\r\n" % (seed, n, len(value))
            want = head + value + b"\r\nEND\r\n"
            got = await reader.readexactly(len(want))
            assert got == want, f"value {n} came back as something else"
            digest.update(got)
        await sending
    # One at a time.
    for n in range(SMALL):
        small = b"%d-%d" % (seed, n)
        writer.write(b"set small-%d 0 0 %d\r\n%b\r\n" % (seed, len(small), small))
        assert await reader.readline() == b"STORED\r\n"
        writer.write(b"get small-%d\r\n" % seed)
        want = b"VALUE small-%d 0 %d\r\n%b\r\nEND\r\n" % (seed, len(small), small)
        assert await reader.readexactly(len(want)) == want
    writer.close()
    return digest.hexdigest()


async def main(host, port):
    print(await asyncio.gather(*(talk(seed, host, port) for seed in range(CLIENTS))))


asyncio.run(main(*sys.argv[1:]))
