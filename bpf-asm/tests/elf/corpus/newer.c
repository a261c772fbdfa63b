/* Types that a libbpf of some years does not know, and what is loaded on demand alone. */
#include "bpf.h"

char _license[] SEC("license") = "GPL";

SEC("tcx/ingress") int on_tcx(void *context) { return 0; }
SEC("netkit/peer") int on_netkit(void *context) { return 0; }
SEC("uprobe.multi//bin/true:*") int on_uprobes(void *context) { return 0; }
SEC("?tc") int on_demand(void *context) { return 0; }
SEC("?freplace/nothing") int replaces(void *context) { return 0; }
