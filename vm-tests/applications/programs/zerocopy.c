// An echo server that receives by TCP_ZEROCOPY_RECEIVE, as the kernel's own
// tools/testing/selftests/net/tcp_mmap.c does: pages where there are whole ones, recv for what it is
// told to read itself. Usage: zerocopy ADDRESS PORT first|late
#include "echo.h"
#include <sys/mman.h>

// struct tcp_zerocopy_receive of linux/tcp.h, which does not go together with netinet/tcp.h.
struct zerocopy {
    uint64_t address;
    uint32_t length, recv_skip_hint, inq;
    int32_t err;
};
#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

enum { WINDOW = 512 << 10 };

static void first(int fd)
{
    char *window = mmap(0, WINDOW, PROT_READ, MAP_SHARED, fd, 0);
    check(window != MAP_FAILED, "mmap");
    static char buffer[WINDOW];
    for (;;) {
        struct zerocopy ask = { .address = (uintptr_t)window, .length = WINDOW };
        socklen_t size = sizeof ask;
        wait_for(fd, POLLIN);
        int answer = getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &ask, &size);
        // EIO: no bytes, and there will be none.
        check(answer == 0 || errno == EIO, "TCP_ZEROCOPY_RECEIVE");
        if (answer == 0 && ask.length) {
            send_all(fd, window, ask.length);
            madvise(window, ask.length, MADV_DONTNEED);
        }
        if (answer < 0)
            break;
        if (ask.recv_skip_hint) {
            size_t most = ask.recv_skip_hint < WINDOW ? ask.recv_skip_hint : WINDOW;
            ssize_t got = recv(fd, buffer, most, MSG_DONTWAIT);
            check(got > 0, "recv");
            send_all(fd, buffer, got);
        } else if (!ask.length) {
            usleep(1000);
        }
    }
    shutdown(fd, SHUT_WR);
}

static void late(int fd)
{
    if (echo_some(fd, 64 * 8))
        first(fd);
}

int main(int argc, char **argv)
{
    (void)argc;
    serve(listen_on(argv[1], atoi(argv[2])), strcmp(argv[3], "late") ? first : late);
}
