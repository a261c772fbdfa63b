/* Values with what the kernel finds by its type, and tags. */
#include "bpf.h"

struct bpf_spin_lock { u32 val; };
struct bpf_timer { u64 opaque[2]; };
struct guarded { struct bpf_spin_lock lock; u64 balance; };
struct timed { struct bpf_timer timer; u64 fired; };

struct { NUMBER(type, 1); NUMBER(max_entries, 8); OF(key, u32); OF(value, struct guarded); } accounts SEC(".maps");
struct { NUMBER(type, 2); NUMBER(max_entries, 1); OF(key, u32); OF(value, struct timed); } timers SEC(".maps");
u64 tagged __attribute__((btf_decl_tag("own:tag")));
struct bpf_spin_lock guard SEC(".data.guard");
u64 guarded_number SEC(".data.guard");
char _license[] SEC("license") = "GPL";

static int fired(void *map, u32 *key, struct timed *value) { value->fired++; return 0; }

SEC("tc")
int transfer(void *context)
{
    u32 key = 0;
    struct guarded *account = map_lookup(&accounts, &key);
    if (account) {
        spin_lock(&account->lock);
        account->balance += 1;
        spin_unlock(&account->lock);
    }
    spin_lock(&guard);
    guarded_number++;
    spin_unlock(&guard);
    struct timed *timed = map_lookup(&timers, &key);
    if (timed) {
        timer_init(&timed->timer, &timers, 1);
        timer_set_callback(&timed->timer, fired);
    }
    return tagged;
}
