#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include "helpers.h"

#define BURST 300
/* A byte per 2^30 ns. */
#define SHIFT 30

struct bucket {
    struct bpf_spin_lock lock;
    __u32 tokens;
    __u64 filled;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bucket);
} buckets SEC(".maps");

char _license[] SEC("license") = "GPL";

SEC("tc")
int police(struct __sk_buff *skb)
{
    __u32 key = 0;
    struct bucket *bucket = bpf_map_lookup_elem(&buckets, &key);
    if (!bucket)
        return TC_ACT_SHOT;
    int verdict = TC_ACT_SHOT;
    __u64 now = bpf_ktime_get_ns();
    bpf_spin_lock(&bucket->lock);
    __u64 tokens = ((now - bucket->filled) >> SHIFT) + bucket->tokens;
    if (tokens > BURST)
        tokens = BURST;
    if (tokens >= skb->len) {
        tokens -= skb->len;
        verdict = TC_ACT_OK;
    }
    bucket->tokens = tokens;
    bucket->filled = now;
    bpf_spin_unlock(&bucket->lock);
    return verdict;
}
