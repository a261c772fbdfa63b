"""HTTP as uvicorn serves it: a protocol of asyncio, and connections that are kept."""
import asyncio
import sys

BODY = b"x" * 1000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Http(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.unread = transport, b""

    def data_received(self, data):
        *requests, self.unread = (self.unread + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(requests))


async def main(host, port):
    await (await asyncio.get_running_loop().create_server(Http, host, port)).serve_forever()


asyncio.run(main(*sys.argv[1:]))
