/* Maps of maps, with what they hold from the start, and programs to jump to. */
#include "bpf.h"

struct inner { NUMBER(type, 2); NUMBER(max_entries, 4); OF(key, u32); OF(value, u64); } first SEC(".maps"), second SEC(".maps");

struct {
    NUMBER(type, 12);
    NUMBER(max_entries, 2);
    OF(key, u32);
    VALUES(values, struct inner *);
} outer SEC(".maps") = { .values = { &first, &second } };

int last(void *context);

struct {
    NUMBER(type, 3);
    NUMBER(max_entries, 3);
    NUMBER(key_size, 4);
    VALUES(values, int (*)(void *context));
} jumps SEC(".maps") = { .values = { [2] = last } };

char _license[] SEC("license") = "GPL";

SEC("socket")
int begin(void *context)
{
    u32 key = 1;
    void *map = map_lookup(&outer, &key);
    if (map)
        map_lookup(map, &key);
    tail_call(context, &jumps, 2);
    return 0;
}

SEC("socket")
int last(void *context)
{
    return 7;
}
