/* What the programs of this folder share: attributes, map declarations as libbpf reads them, and a few helpers. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define HIDDEN __attribute__((visibility("hidden")))
#define WEAK __attribute__((weak))
#define CORE __attribute__((preserve_access_index))

/* Members of a map's declaration: a number is the length of an array. */
#define NUMBER(name, value) int (*name)[value]
#define OF(name, type) __typeof__(type) *name
#define VALUES(name, type) __typeof__(type) name[]

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const ktime)(void) = (void *)5;
static long (*const trace_printk)(const char *format, u32 size, ...) = (void *)6;
static u32 (*const prandom)(void) = (void *)7;
static long (*const tail_call)(void *context, void *map, u32 index) = (void *)12;
static long (*const spin_lock)(void *lock) = (void *)93;
static long (*const spin_unlock)(void *lock) = (void *)94;
static long (*const probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static void *(*const ringbuf_reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
static void (*const ringbuf_submit)(void *data, u64 flags) = (void *)132;
static void *(*const per_cpu_ptr)(const void *variable, u32 cpu) = (void *)153;
static long (*const for_each)(void *map, void *callback, void *context, u64 flags) = (void *)164;
static long (*const timer_init)(void *timer, void *map, u64 flags) = (void *)169;
static long (*const timer_set_callback)(void *timer, void *callback) = (void *)170;
static long (*const loop)(u32 rounds, void *callback, void *context, u64 flags) = (void *)181;
