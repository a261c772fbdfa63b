#include "bpf.h"

#define UDP_HEADER 8
#define MOST 16

SEC("socket")
int short_only(struct __sk_buff *packet)
{
	if (packet->len > MOST + UDP_HEADER)
		return 0;
	return packet->len;
}
