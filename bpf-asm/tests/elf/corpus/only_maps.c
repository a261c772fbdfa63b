/* No program. */
#include "bpf.h"

struct { NUMBER(type, 1); NUMBER(max_entries, 64); OF(key, u32); OF(value, u64); } alone SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 4096); } ring SEC(".maps");
