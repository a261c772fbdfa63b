#include <linux/bpf.h>
#include "helpers.h"

struct prefix {
    __u32 bits;
    __u32 address;
};

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1024);
    __type(key, struct prefix);
    __type(value, __u32);
} rules SEC(".maps");

char _license[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int policy(struct bpf_sock_addr *ctx)
{
    struct prefix prefix = { .bits = 32, .address = ctx->user_ip4 };
    __u32 *allowed = bpf_map_lookup_elem(&rules, &prefix);
    if (!allowed)
        return 1;
    return *allowed != 0;
}
