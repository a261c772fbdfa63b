#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include "helpers.h"

struct traffic {
    __u64 packets;
    __u64 bytes;
};

struct news {
    __u32 protocol;
    __u32 length;
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, struct traffic);
} protocols SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} first SEC(".maps");

char _license[] SEC("license") = "GPL";

SEC("xdp")
int count(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    __u32 protocol = ip->protocol;
    struct traffic *traffic = bpf_map_lookup_elem(&protocols, &protocol);
    if (!traffic)
        return XDP_PASS;
    /* The first packet of a protocol on this processor. */
    if (traffic->packets++ == 0) {
        struct news *news = bpf_ringbuf_reserve(&first, sizeof(*news), 0);
        if (news) {
            news->protocol = protocol;
            news->length = end - data;
            bpf_ringbuf_submit(news, 0);
        }
    }
    traffic->bytes += end - data;
    return XDP_PASS;
}
