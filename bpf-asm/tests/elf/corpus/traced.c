/* What attaches by the kernel's types. */
#include "bpf.h"

char _license[] SEC("license") = "GPL";
u64 seen;

SEC("fentry/bpf_fentry_test1") int entered(u64 *arguments) { seen = arguments[0]; return 0; }
SEC("fexit/bpf_fentry_test1") int left(u64 *arguments) { seen += arguments[1]; return 0; }
SEC("tp_btf/sched_switch") int switched(u64 *arguments) { seen = arguments[1] != 0; return 0; }
SEC("iter/task") int each(u64 *context) { seen++; return 0; }
SEC("lsm/file_open") int opened(u64 *arguments) { return 0; }
