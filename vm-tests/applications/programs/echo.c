// An echo server that reads by recv and waits by poll: the plainest there is.
// Usage: echo ADDRESS PORT
#include "echo.h"

int main(int argc, char **argv)
{
    (void)argc;
    serve(listen_on(argv[1], atoi(argv[2])), echo_by_recv);
}
