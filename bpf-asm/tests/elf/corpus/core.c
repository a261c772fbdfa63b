/* What is relocated by the kernel's types. */
#include "bpf.h"

struct list_head { struct list_head *next; } CORE;
struct task_struct { int pid; int tgid; char comm[16]; struct task_struct *group_leader; struct list_head tasks; } CORE;
struct task_struct___other { long nothing_of_this_name; } CORE;
enum bpf_map_type___own { BPF_MAP_TYPE_ARRAY___own = 99 };
char _license[] SEC("license") = "GPL";
u64 seen[8];

static void *(*const current_task)(void) = (void *)35;

SEC("raw_tracepoint/sched_switch")
int look(void *context)
{
    struct task_struct *task = current_task(), *leader = 0;
    struct task_struct___other *other = (void *)task;
    int pid = 0;
    probe_read_kernel(&pid, sizeof(pid), &task->pid);
    probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
    probe_read_kernel(&pid, sizeof(pid), &leader->tgid);
    seen[0] = pid;
    if (__builtin_preserve_field_info(other->nothing_of_this_name, 2))
        seen[1] = 1;
    seen[2] = __builtin_preserve_field_info(task->comm, 1);
    seen[3] = __builtin_preserve_type_info(*(struct task_struct *)0, 0);
    seen[4] = __builtin_preserve_enum_value(*(enum bpf_map_type___own *)BPF_MAP_TYPE_ARRAY___own, 1);
    seen[5] = __builtin_preserve_type_info(*(struct task_struct *)0, 1);
    return 0;
}
