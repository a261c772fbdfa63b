// An echo server that moves bytes by splice(2). Usage: splice ADDRESS PORT first|late | splice FD
//   first  from the first byte
//   late   after 64 requests of 8 bytes, which it has read by recv
//   FD     what is inherited: a connection that another program has read from until now
#include "splice.h"

static void first(int fd)
{
    splice_all(fd, fd);
}

static void late(int fd)
{
    if (echo_some(fd, 64 * 8))
        splice_all(fd, fd);
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        signal(SIGPIPE, SIG_IGN);
        first(atoi(argv[1]));
        return 0;
    }
    serve(listen_on(argv[1], atoi(argv[2])), strcmp(argv[3], "late") ? first : late);
}
