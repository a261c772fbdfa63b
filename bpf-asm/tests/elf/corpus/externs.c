/* The kernel's configuration, variables, functions. */
#include "bpf.h"

extern u32 LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
extern _Bool CONFIG_BPF_SYSCALL __attribute__((section(".kconfig")));
extern int CONFIG_NOT_THERE __attribute__((section(".kconfig"))) WEAK;
extern const void bpf_prog_active __attribute__((section(".ksyms"))) WEAK;
extern const int bpf_nothing_of_this_name __attribute__((section(".ksyms"))) WEAK;
extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms"))) WEAK;
extern void bpf_rcu_read_unlock(void) __attribute__((section(".ksyms"))) WEAK;
u64 seen;
char _license[] SEC("license") = "GPL";

SEC("tc")
int ask(void *context)
{
    seen = LINUX_KERNEL_VERSION + CONFIG_BPF_SYSCALL + CONFIG_NOT_THERE;
    bpf_rcu_read_lock();
    seen++;
    bpf_rcu_read_unlock();
    seen += (u64)&bpf_nothing_of_this_name;
    return 0;
}
