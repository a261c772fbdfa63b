/* Variables of all sections, and texts. */
#include "bpf.h"

struct pair { u32 a; u64 b; };

int counter;
static u64 hidden_counter;
struct pair pairs[3] = { { 1, 2 }, { 3, 4 }, { 5, 0x1122334455667788 } };
static int table[] = { 5, 4, 3, 2, 1, 0, -1, -2, -3, -4 };
const volatile u32 limit = 1000;
const volatile char name[16] = "quote \" \\ \n\x01";
static const u64 primes[] = { 2, 3, 5, 7, 11, 13 };
u32 own SEC(".data.own") = 77;
const u32 fixed SEC(".rodata.fixed") = 78;
u64 many[32];
unsigned char filled[12] = { [0 ... 11] = 0xee };
char _license[] SEC("license") = "Dual BSD/GPL";

SEC("tc")
int touch(void *context)
{
    counter++;
    hidden_counter += primes[counter & 3] + fixed;
    pairs[1].b += table[prandom() & 7];
    table[prandom() & 7] = limit;
    own += name[3] + filled[prandom() & 7];
    many[prandom() & 31] = own;
    trace_printk("counted %d of %d", 17, counter, limit);
    return hidden_counter > limit;
}
