// What the programs in C share: a listener, a process for each connection, non-blocking calls.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int fine, const char *what)
{
    if (!fine) {
        perror(what);
        exit(1);
    }
}

static struct sockaddr_in address_of(const char *text, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    check(inet_pton(AF_INET, text, &address.sin_addr) == 1, "inet_pton");
    return address;
}

static int listen_on(const char *text, int port)
{
    struct sockaddr_in address = address_of(text, port);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    check(listener >= 0, "socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    check(bind(listener, (void *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 64) == 0, "listen");
    return listener;
}

static void wait_for(int fd, short events)
{
    struct pollfd one = { fd, events, 0 };
    while (poll(&one, 1, -1) < 0 && errno == EINTR) {
    }
}

// Calls `each` with every connection, non-blocking, in a process of its own.
static void serve(int listener, void (*each)(int))
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int connection = accept4(listener, 0, 0, SOCK_NONBLOCK), yes = 1;
        check(connection >= 0, "accept");
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (fork() == 0) {
            close(listener);
            each(connection);
            exit(0);
        }
        close(connection);
    }
}

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            wait_for(fd, POLLOUT);
            continue;
        }
        check(sent > 0, "send");
        bytes += sent;
        length -= sent;
    }
}

// Echoes so many bytes, or to the end; returns whether there may be more.
static int echo_some(int fd, uint64_t most)
{
    static char buffer[32 << 10];
    while (most) {
        ssize_t got = recv(fd, buffer, most < sizeof buffer ? most : sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN) {
            wait_for(fd, POLLIN);
            continue;
        }
        check(got >= 0, "recv");
        if (got == 0)
            return 0;
        send_all(fd, buffer, got);
        most -= got;
    }
    return 1;
}

__attribute__((unused)) static void echo_by_recv(int fd)
{
    echo_some(fd, UINT64_MAX);
    shutdown(fd, SHUT_WR);
}
