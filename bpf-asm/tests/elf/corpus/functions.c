/* Functions of every linkage, which programs of one section share. */
#include "bpf.h"

u64 sum;
char _license[] SEC("license") = "GPL";

static NOINLINE int local(int number) { return number * 3 + sum; }
NOINLINE int global(int number) { sum += number; return local(number); }
NOINLINE HIDDEN int hidden(int number) { return number + (int)sum; }
NOINLINE WEAK int weak(int number) { return number - 1; }
static int once(u32 round, u64 *context) { *context += round; return 0; }
static int each(void *map, u32 *key, u64 *value, void *context) { *value += *key; return 0; }

struct { NUMBER(type, 2); NUMBER(max_entries, 4); OF(key, u32); OF(value, u64); } numbers SEC(".maps");

SEC("socket")
int first(void *context)
{
    u64 total = 0;
    loop(10, once, &total, 0);
    for_each(&numbers, each, 0, 0);
    return global(1) + hidden(2) + weak(3) + local(4) + (int)total;
}

SEC("socket")
int second(void *context)
{
    return global(10) + local(5);
}
