/* Programs of many types. */
#include "bpf.h"

char _license[] SEC("license") = "GPL";
int calls;

#define PROGRAM(section, name, result) SEC(section) int on_##name(void *context) { calls++; return result; }
PROGRAM("socket", socket_filter, 1)
PROGRAM("tc", classifier, 0)
PROGRAM("xdp", xdp, 2)
PROGRAM("xdp.frags", xdp_frags, 2)
PROGRAM("kprobe/do_nanosleep", kprobe, 0)
PROGRAM("kretprobe/do_nanosleep", kretprobe, 0)
PROGRAM("uprobe", uprobe, 0)
PROGRAM("tracepoint/sched/sched_switch", tracepoint, 0)
PROGRAM("raw_tp/sched_switch", raw_tracepoint, 0)
PROGRAM("perf_event", perf_event, 0)
PROGRAM("cgroup_skb/egress", cgroup_skb, 1)
PROGRAM("cgroup/sock_create", cgroup_sock, 1)
PROGRAM("cgroup/connect4", connect4, 1)
PROGRAM("cgroup/sysctl", sysctl, 1)
PROGRAM("cgroup/getsockopt", getsockopt, 1)
PROGRAM("cgroup/dev", device, 1)
PROGRAM("sockops", sockops, 1)
PROGRAM("sk_skb/stream_parser", parser, 0)
PROGRAM("sk_skb/stream_verdict", verdict, 1)
PROGRAM("sk_msg", message, 1)
PROGRAM("sk_lookup", lookup, 1)
PROGRAM("sk_reuseport", reuseport, 1)
PROGRAM("flow_dissector", dissector, 0)
PROGRAM("lwt_xmit", lwt, 0)
PROGRAM("syscall", syscall_program, 0)
