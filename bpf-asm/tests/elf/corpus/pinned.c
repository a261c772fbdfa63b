/* A map that is pinned by its name. */
#include "bpf.h"

struct { NUMBER(type, 2); NUMBER(max_entries, 1); NUMBER(pinning, 1); OF(key, u32); OF(value, u64); } shared_counter SEC(".maps");
char _license[] SEC("license") = "GPL";

SEC("xdp")
int count(void *context)
{
    u32 key = 0;
    u64 *value = map_lookup(&shared_counter, &key);
    if (value)
        *value += 1;
    return 2;
}
