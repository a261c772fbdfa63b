.license "GPL"
.map packets array key=4 value=8 entries=1

.section "xdp"                      ; libbpf takes the type of a program from its section
.function count
    *(u32 *)(r10 -4) = 0            ; the key
    r2 = r10
    r2 += -4
    r1 = map[name:packets]
    call bpf_map_lookup_elem
    if r0 == 0 goto out             ; an array has all its values, but the verifier asks
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
out:
    r0 = 2                          ; XDP_PASS
    exit
