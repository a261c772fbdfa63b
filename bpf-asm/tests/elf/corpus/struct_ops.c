/* A structure of functions that the kernel calls. */
#include "bpf.h"

struct sock;
struct tcp_congestion_ops {
    u32 (*ssthresh)(struct sock *sk);
    void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
    u32 (*undo_cwnd)(struct sock *sk);
    char name[16];
};
char _license[] SEC("license") = "GPL";

SEC("struct_ops") u32 own_ssthresh(u64 *arguments) { return 2; }
SEC("struct_ops") void own_cong_avoid(u64 *arguments) {}
SEC("struct_ops") u32 own_undo_cwnd(u64 *arguments) { return 10; }

SEC(".struct_ops")
struct tcp_congestion_ops own = {
    .ssthresh = (void *)own_ssthresh,
    .cong_avoid = (void *)own_cong_avoid,
    .undo_cwnd = (void *)own_undo_cwnd,
    .name = "bpf_own",
};
