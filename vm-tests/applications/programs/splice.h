// Moving what arrives on a socket to another one by splice(2), whoever makes the call.
#include "echo.h"
#include <sys/syscall.h>

static ssize_t move(int from, int to)
{
#ifdef BY_SYSCALL
    // No import of splice tells of it.
    return syscall(SYS_splice, from, 0, to, 0, 64 << 10, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
#else
    return splice(from, 0, to, 0, 64 << 10, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
#endif
}

// Until the end of `from`, or of `most` bytes.
static void splice_all(int from, int to)
{
    int ends[2];
    check(pipe2(ends, O_NONBLOCK) == 0, "pipe");
    for (;;) {
        ssize_t got = move(from, ends[1]);
        if (got < 0 && errno == EAGAIN) {
            wait_for(from, POLLIN);
            continue;
        }
        check(got >= 0, "splice from the socket");
        if (got == 0)
            break;
        while (got) {
            ssize_t put = move(ends[0], to);
            if (put < 0 && errno == EAGAIN) {
                wait_for(to, POLLOUT);
                continue;
            }
            check(put > 0, "splice to the socket");
            got -= put;
        }
    }
    shutdown(to, SHUT_WR);
}
