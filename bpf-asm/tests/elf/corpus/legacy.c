/* Maps as they were declared before BTF; libbpf 1.0 refuses them. */
#include "bpf.h"

struct { u32 type, key_size, value_size, max_entries, map_flags; } old SEC("maps") = { 2, 4, 8, 16, 0 };
char _license[] SEC("license") = "GPL";
u32 _version SEC("version") = 0x60000;

SEC("socket")
int count(void *context)
{
    u32 key = 3;
    return map_lookup(&old, &key) != 0;
}
