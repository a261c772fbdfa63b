"""Publishes to NATS what others have subscribed to, who answer, and checks that all of it comes.

Usage: nats.py HOST PORT
"""
import asyncio
import hashlib
import random
import sys

CLIENTS, REQUESTS, LARGE, LARGEST = 4, 1500, 20, 1 << 20


class Client:
    async def connect(self, host, port):
        self.reader, self.writer = await asyncio.open_connection(host, port, limit=1 << 20)
        assert (await self.reader.readline()).startswith(b"INFO ")
        self.writer.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        assert await self.reader.readline() == b"PONG\r\n"
        return self

    async def subscribe(self, subject):
        self.writer.write(b"SUB %b 1\r\nPING\r\n" % subject)
        assert await self.reader.readline() == b"PONG\r\n"

    async def publish(self, subject, answer_to, message):
        self.writer.write(b"PUB %b %b %d\r\n%b\r\n" % (subject, answer_to, len(message), message))
        await self.writer.drain()

    async def next(self):
        """A message, and where its answer goes."""
        while (line := await self.reader.readline()) == b"PING\r\n":
            self.writer.write(b"PONG\r\n")
        words = line.split()
        assert words[0] == b"MSG", line
        message = await self.reader.readexactly(int(words[-1]) + 2)
        return message[:-2], words[3]


async def answer(client):
    while True:
        message, answer_to = await client.next()
        await client.publish(answer_to, b"", message)


async def talk(seed, host, port):
    asks, answers = b"asks-%d" % seed, b"answers-%d" % seed
    server, client = await Client().connect(host, port), await Client().connect(host, port)
    await server.subscribe(asks)
    await client.subscribe(answers)
    answering = asyncio.create_task(answer(server))
    dice, digest = random.Random(seed), hashlib.sha256()
    for request in range(REQUESTS + LARGE):
        message = dice.randbytes(dice.randint(1, 1000 if request < REQUESTS else LARGEST))
        await client.publish(asks, answers, message)
        got, _ = await client.next()
        assert got == message, f"request {request} was answered with other bytes"
        digest.update(got)
    answering.cancel()
    return digest.hexdigest()


async def main(host, port):
    print(await asyncio.gather(*(talk(seed, host, port) for seed in range(CLIENTS))))


asyncio.run(main(*sys.argv[1:]))
