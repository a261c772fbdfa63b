/* Instructions that compilers rarely choose, labels, and statements between semicolons. */
#include "bpf.h"

char _license[] SEC("license") = "GPL";
u64 number;

SEC("socket")
int odd(void *context)
{
    u64 a = prandom(), b = a | 1, old;
    asm volatile("%[a] = be16 %[a]; %[b] <<= 3" : [a] "+r"(a), [b] "+r"(b));
    asm volatile("1: %[a] += -1\n\tif %[a] s> 5 goto 1f\n\t%[b] = 0x1122334455667788 ll\n1: %[b] += %[a]" : [a] "+r"(a), [b] "+r"(b));
    old = __sync_fetch_and_add(&number, a);
    __sync_fetch_and_or(&number, b);
    __sync_val_compare_and_swap(&number, old, a);
    __sync_lock_test_and_set(&number, b);
    switch (prandom() & 15) {
    case 0: a *= 3; break;
    case 1: a ^= b; break;
    case 2: a -= b; break;
    case 3: a = a / (b | 1); break;
    case 4: a = a % (b | 1); break;
    case 5: a = (s64)a >> (b & 63); break;
    case 6: a = __builtin_bswap32(a); break;
    case 7: a = (signed char)a; break;
    default: a = -a;
    }
    return a;
}
