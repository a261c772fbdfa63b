/* Maps of many kinds with all attributes. */
#include "bpf.h"

struct key { u32 prefix; u8 address[4]; };
struct value { u64 packets; u32 last[3]; u8 flag; };

struct { NUMBER(type, 1); NUMBER(max_entries, 64); NUMBER(map_flags, 1); OF(key, u64); OF(value, struct value); } hash SEC(".maps");
struct { NUMBER(type, 2); NUMBER(max_entries, 4); OF(key, u32); OF(value, struct value); } array SEC(".maps");
struct { NUMBER(type, 5); NUMBER(max_entries, 8); NUMBER(key_size, 4); NUMBER(value_size, 16); } percpu SEC(".maps");
struct { NUMBER(type, 9); NUMBER(max_entries, 32); OF(key, u32); OF(value, u64); } lru SEC(".maps");
struct { NUMBER(type, 11); NUMBER(max_entries, 16); NUMBER(map_flags, 1); OF(key, struct key); OF(value, u32); } trie SEC(".maps");
struct { NUMBER(type, 22); NUMBER(max_entries, 16); OF(value, u32); } queue SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 4096); } ring SEC(".maps");
struct { NUMBER(type, 30); NUMBER(max_entries, 100); NUMBER(map_extra, 3); OF(value, u32); } bloom SEC(".maps");
struct { NUMBER(type, 1); NUMBER(max_entries, 8); NUMBER(map_flags, 4); NUMBER(numa_node, 0); OF(key, u32); OF(value, u32); } node SEC(".maps");
struct { NUMBER(type, 24); NUMBER(map_flags, 1); OF(key, int); OF(value, u64); } storage SEC(".maps");
struct { NUMBER(type, 4); NUMBER(key_size, 4); NUMBER(value_size, 4); } perf SEC(".maps");
char _license[] SEC("license") = "GPL";

SEC("socket")
int count(void *context)
{
    u64 key = 7;
    struct value *found = map_lookup(&hash, &key);
    if (found)
        __sync_fetch_and_add(&found->packets, 1);
    u32 index = 1;
    struct value *at = map_lookup(&array, &index);
    if (at)
        at->last[2] = prandom();
    u64 *event = ringbuf_reserve(&ring, 8, 0);
    if (event) {
        *event = ktime();
        ringbuf_submit(event, 0);
    }
    map_lookup(&percpu, &index);
    map_lookup(&lru, &index);
    return 0;
}
