// Reads 64 requests of 8 bytes by recv, then becomes another program, which inherits
// the connection.
// Usage: hand_over ADDRESS PORT PROGRAM
#include "echo.h"

static const char *program;

static void hand_over(int fd)
{
    if (!echo_some(fd, 64 * 8))
        return;
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    execl(program, program, number, (char *)0);
    check(0, "exec");
}

int main(int argc, char **argv)
{
    (void)argc;
    program = argv[3];
    serve(listen_on(argv[1], atoi(argv[2])), hand_over);
}
