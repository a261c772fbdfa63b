"""Blocking sockets, a thread for each direction: a server that sends back what it gets, and clients that check it."""
import hashlib
import random
import socket
import sys
import threading

CLIENTS, REQUESTS, LONGEST, LARGEST = 4, 30, 400_000, 8 << 20


def echo(stream):
    with stream:
        while part := stream.recv(65536):
            stream.sendall(part)


def talk(seed, address, sums):
    stream = socket.create_connection(address)
    stream.settimeout(None)
    dice, digest = random.Random(seed), hashlib.sha256()
    for request in range(REQUESTS + 1):
        body = dice.randbytes(LARGEST if request == REQUESTS else dice.randint(1, LONGEST))
        sender = threading.Thread(target=stream.sendall, args=(body,))
        sender.start()
        answer = bytearray()
        while len(answer) < len(body):
            part = stream.recv(len(body) - len(answer), socket.MSG_WAITALL)
            assert part, "the stream ended"
            answer += part
        sender.join()
        assert answer == body, f"request {request} was answered with other bytes"
        digest.update(answer)
    stream.shutdown(socket.SHUT_WR)
    assert stream.recv(1) == b""
    sums[seed] = digest.hexdigest()


def main(role, host, port):
    if role == "server":
        listener = socket.create_server((host, int(port)))
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
    sums = {}
    clients = [threading.Thread(target=talk, args=(seed, (host, int(port)), sums)) for seed in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(sums) == CLIENTS, sums
    print(sorted(sums.items()))


main(*sys.argv[1:])
