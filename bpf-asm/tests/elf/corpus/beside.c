/* A static function beside the program that calls it, which libbpf refuses. */
#include "bpf.h"

char _license[] SEC("license") = "GPL";
u64 many[32] SEC(".bss.many");

static NOINLINE SEC("socket") int beside(int number) { return prandom() + number; }
SEC("socket") int program(void *context) { return beside(5) + many[prandom() & 31]; }
