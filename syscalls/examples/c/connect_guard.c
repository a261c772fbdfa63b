#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} refused SEC(".maps");

/* Filled in by the loader before the program is loaded. */
const volatile __u16 ports[16];
const volatile __u32 count;

SEC("cgroup/connect4")
int connect_guard(struct bpf_sock_addr *address)
{
	__u32 port = address->user_port, index = 0;

	for (__u32 n = 0; n < 16 && n < count; n++) {
		if (port == __builtin_bswap16(ports[n])) {
			__u64 *value = bpf_map_lookup_elem(&refused, &index);

			if (value)
				__sync_fetch_and_add(value, 1);
			return 0;
		}
	}
	return 1;
}
