#include "bpf.h"

struct received {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct received);
	__uint(max_entries, 1);
} received SEC(".maps");

SEC("xdp")
int count(struct xdp_md *packet)
{
	__u32 index = 0;
	struct received *value = bpf_map_lookup_elem(&received, &index);

	if (value) {
		value->packets += 1;
		value->bytes += (void *)(long)packet->data_end - (void *)(long)packet->data;
	}
	return XDP_PASS;
}
