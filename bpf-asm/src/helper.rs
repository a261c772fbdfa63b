//! The kernel's helper functions (UAPI `linux/bpf.h`, `enum bpf_func_id`).
//!
//! Each returns a [`Call`] for [`Builder::call`](crate::Builder::call). A key or value of a map is
//! passed as memory of that type. A result of type [`Reg`] is the helper's result as in C: 0 or a
//! negative errno, unless said otherwise; `int` results are sign-extended to 64 bits.

use std::marker::PhantomData;

use crate::builder::{Builder, Function};
use crate::map::{MapDef, MapRef};
use crate::place::{Base, Place, Slot};
use crate::record::FieldType;
use crate::stack::Access;
use crate::value::{Operand, Ptr, Reg, Value};

/// A null pointer.
pub const NULL: i32 = 0;

/// An argument of a call: a number, a value, or the address of memory or of a map.
#[derive(Clone, Debug)]
pub struct Arg(pub(crate) ArgSource);

#[derive(Debug, Clone)]
pub(crate) enum ArgSource {
    Imm(i64),
    Value(Value),
    Address { base: Base, offset: i64, memory: Memory },
    Map(MapDef),
    Function { builder: Builder, index: usize },
}

/// How a call accesses memory whose address is passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Size of the memory in bytes.
    pub(crate) size: usize,
    pub(crate) access: Access,
    /// The size passed to the call; `None` if it is known only at run time.
    pub(crate) told: Option<i64>,
}

impl Arg {
    /// The same argument, and if it is an address, how the helper accesses the memory: all of it,
    /// or as many bytes as another argument says.
    fn accessed(mut self, access: Access, bytes: Option<&Arg>) -> Arg {
        if let ArgSource::Address { memory, .. } = &mut self.0 {
            memory.access = access;
            match bytes.map(|bytes| &bytes.0) {
                Some(ArgSource::Imm(bytes)) => memory.told = Some(*bytes),
                Some(_) => memory.told = None,
                None => {}
            }
        }
        self
    }
}

impl<T: Into<Operand>> From<T> for Arg {
    fn from(operand: T) -> Self {
        Arg(match operand.into() {
            Operand::Imm(imm) => ArgSource::Imm(imm),
            Operand::Value(value) => ArgSource::Value(value),
        })
    }
}

impl<T> From<Place<T>> for Arg {
    fn from(place: Place<T>) -> Self {
        let size = place.shape.size;
        let memory = Memory { size, access: Access::Escapes, told: Some(size as i64) };
        Arg(ArgSource::Address { base: place.base, offset: place.offset, memory })
    }
}

impl<T> From<&Slot<T>> for Arg {
    fn from(slot: &Slot<T>) -> Self {
        slot.place.clone().into()
    }
}

impl<K, V> From<&MapRef<K, V>> for Arg {
    fn from(map: &MapRef<K, V>) -> Self {
        Arg(ArgSource::Map(*map.def()))
    }
}

/// The address of a `T`: a [`Slot`], a [`Place`] or a [`Ptr`].
pub trait At<T>: Into<Arg> {}

impl<T> At<T> for Place<T> {}
impl<T: FieldType> At<T> for &Slot<T> {}
impl<T> At<T> for &Ptr<T> {}

/// The id of an unresolved kfunc; the verifier rejects the call unless it is unreachable.
const UNRESOLVED: i32 = 0;

/// A call with its arguments, for [`Builder::call`](crate::Builder::call).
#[must_use = "a call does nothing until Builder::call takes it"]
pub struct Call<R> {
    pub(crate) function: crate::insn::Call,
    /// The name of an unresolved kfunc.
    pub(crate) name: Option<String>,
    pub(crate) args: Vec<Arg>,
    result: PhantomData<fn() -> R>,
}

impl<R> Call<R> {
    /// A call of any helper by its number, with up to five arguments.
    pub fn raw(id: i32, args: Vec<Arg>) -> Self {
        Call { function: crate::insn::Call::Helper { id }, name: None, args, result: PhantomData }
    }

    /// A call of a kfunc by its id in vmlinux BTF, with up to five arguments. See [`crate::kfunc`].
    /// Since 5.13.
    pub fn kernel(id: u32, args: Vec<Arg>) -> Self {
        // The immediate holds an unsigned id.
        let function = crate::insn::Call::Kernel { id: id as i32, btf: 0 };
        Call { function, name: None, args, result: PhantomData }
    }

    /// A call of a kfunc of the kernel or a module by name, with up to five arguments.
    /// [`Program::resolve`](crate::Program::resolve) has to resolve it before the program is
    /// loaded. Since 5.13.
    ///
    /// ```
    /// use bpf_asm::{Builder, Call, KernelFunction, ProgramType, Reg};
    ///
    /// let b = Builder::new("locked");
    /// b.call(Call::<Reg>::named("bpf_rcu_read_lock", vec![]));
    /// b.call(Call::<Reg>::named("bpf_rcu_read_unlock", vec![]));
    /// b.ret(0);
    /// let mut program = b.finish(ProgramType::Classifier)?;
    /// assert_eq!(program.kernel_functions(), ["bpf_rcu_read_lock", "bpf_rcu_read_unlock"]);
    /// // `syscalls::btf::KernelFunctions` knows those of the running kernel.
    /// program.resolve(|name| match name {
    ///     "bpf_rcu_read_lock" => Ok(KernelFunction { id: 41, btf: 0 }),
    ///     "bpf_rcu_read_unlock" => Ok(KernelFunction { id: 43, btf: 0 }),
    ///     other => Err(format!("there is no {other}")),
    /// })?;
    /// assert!(program.to_string().contains("call bpf_rcu_read_unlock#43"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: &str, args: Vec<Arg>) -> Self {
        let function = crate::insn::Call::Kernel { id: UNRESOLVED, btf: 0 };
        Call { function, name: Some(name.to_owned()), args, result: PhantomData }
    }
}

/// The name of a helper as the kernel prints it, `unknown` if it has none.
pub fn name(id: i32) -> &'static str {
    crate::insn::helper_name(id).unwrap_or("unknown")
}

/// Helpers as C declares them. Memory that is only read or only written is marked: all of it, or as
/// many bytes as another argument says. A helper that writes writes all of it, even on failure
/// (kernel `ARG_PTR_TO_UNINIT_MEM`). A helper may read and write any byte of unmarked memory; none
/// returns an address within it.
macro_rules! helpers {
    (@accessed $arg:ident) => { $arg.accessed(Access::Lent, None) };
    (@accessed $arg:ident, reads) => { $arg.accessed(Access::Reads, None) };
    (@accessed $arg:ident, reads, $bytes:ident) => { $arg.accessed(Access::Reads, Some(&$bytes)) };
    (@accessed $arg:ident, writes, $bytes:ident) => { $arg.accessed(Access::Writes, Some(&$bytes)) };
    ($(
        $(#[doc = $doc:literal])*
        $id:literal $name:ident $(<$($generic:ident $(: $bound:path)?),*>)?
        ($( $(#[$access:ident $(($bytes:ident))?])? $arg:ident: $ty:ty),*) -> $ret:ty;
    )*) => {
        $(
            $(#[doc = $doc])*
            #[doc = concat!("\n\nHelper ", $id, ".")]
            pub fn $name $(<$($generic $(: $bound)?),*>)? ($($arg: $ty),*) -> Call<$ret> {
                $(let $arg: Arg = $arg.into();)*
                let args = vec![$(helpers!(@accessed $arg $(, $access $(, $bytes)?)?)),*];
                Call::raw($id, args)
            }
        )*

        /// The helpers of this module by number.
        #[cfg(test)]
        const SIGNATURES: &[(i32, &str)] = &[$(($id, concat!("bpf_", stringify!($name)))),*];
    };
}

helpers! {
    /// The value of a key, or null. Since 3.19.
    1 map_lookup_elem<K, V>(map: &MapRef<K, V>, #[reads] key: impl At<K>) -> Ptr<V>;
    /// Sets the value of a key; `flags`: 0 any, 1 only new, 2 only existing. Since 3.19.
    2 map_update_elem<K, V>(map: &MapRef<K, V>, #[reads] key: impl At<K>, #[reads] value: impl At<V>, flags: impl Into<Arg>) -> Reg;
    /// Deletes a key. Since 3.19.
    3 map_delete_elem<K, V>(map: &MapRef<K, V>, #[reads] key: impl At<K>) -> Reg;
    /// Nanoseconds since boot, excluding suspend. Since 4.1.
    5 ktime_get_ns() -> Reg;
    /// Prints to `/sys/kernel/tracing/trace_pipe`: a format of `size` bytes and up to three
    /// numbers. Returns bytes written. Since 4.1.
    6 trace_printk(#[reads(size)] format: impl Into<Arg>, size: impl Into<Arg>, a: impl Into<Arg>, b: impl Into<Arg>, c: impl Into<Arg>) -> Reg;
    /// 32 random bits. Since 4.1.
    7 get_prandom_u32() -> Reg;
    /// The CPU that runs the program. Since 4.1.
    8 get_smp_processor_id() -> Reg;
    /// Writes `size` bytes into a packet at `offset`; `flags` 1 updates its checksum. Since 4.1.
    9 skb_store_bytes(context: impl Into<Arg>, offset: impl Into<Arg>, #[reads(size)] from: impl Into<Arg>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Tail-calls another program of a [`ProgArray`](crate::MapKind::ProgArray); returns only if
    /// the index has none. Since 4.2.
    12 tail_call<K, V>(context: impl Into<Arg>, map: &MapRef<K, V>, index: impl Into<Arg>) -> Reg;
    /// Thread group in the upper 32 bits, thread in the lower. Since 4.2.
    14 get_current_pid_tgid() -> Reg;
    /// Copies the current task's command name into `size` bytes. Since 4.2.
    16 get_current_comm(#[writes(size)] buffer: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// Sends `size` bytes to the perf event of a CPU; `flags` is its number, 0xffffffff for the
    /// current CPU. Since 4.4.
    25 perf_event_output<K, V>(context: impl Into<Arg>, map: &MapRef<K, V>, flags: impl Into<Arg>, #[reads(size)] data: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// The id of the current stack in a [`StackTrace`](crate::MapKind::StackTrace); `flags` 256 for
    /// the user stack. Since 4.6.
    27 get_stackid<K, V>(context: impl Into<Arg>, map: &MapRef<K, V>, flags: impl Into<Arg>) -> Reg;
    /// The address of the current task's `struct task_struct`. Since 4.8.
    35 get_current_task() -> Reg;
    /// The cookie of a socket, unique and constant for its lifetime, or 0. Takes the context or, in
    /// some program types, a socket. Since 4.12.
    46 get_socket_cookie(context: impl Into<Arg>) -> Reg;
    /// Reads `size` bytes of a packet at `offset`. Since 4.5.
    26 skb_load_bytes(context: impl Into<Arg>, offset: impl Into<Arg>, #[writes(size)] to: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// Sets a socket option of the context's socket. Since 4.13.
    49 setsockopt(context: impl Into<Arg>, level: impl Into<Arg>, option: impl Into<Arg>, #[reads(size)] value: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// Grows or shrinks a packet at its start by a number of bytes; in sk_skb, `mode` and `flags`
    /// are 0 and the number is at most 4095. Since 4.13; in sk_skb since 5.10.
    50 skb_adjust_room(context: impl Into<Arg>, difference: impl Into<Arg>, mode: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Redirects a packet to the device, CPU or socket of a key of a map; `flags` is the return
    /// value if there is none. In XDP. Since 4.14.
    51 redirect_map<K, V>(map: &MapRef<K, V>, key: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Adds the context's socket to a sockmap; in sock_ops. Since 4.14.
    53 sock_map_update<V>(context: impl Into<Arg>, map: &MapRef<u32, V>, #[reads] key: impl At<u32>, flags: impl Into<Arg>) -> Reg;
    /// Reads a socket option of the context's socket. Since 4.15.
    57 getsockopt(context: impl Into<Arg>, level: impl Into<Arg>, option: impl Into<Arg>, #[writes(size)] value: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// Sets the callback flags of this socket. Returns the flags that the kernel does not support.
    /// Since 4.16.
    59 sock_ops_cb_flags_set(context: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Redirects a message to a socket of a sockmap; `flags` 1 to its ingress queue. Returns 1
    /// (pass) or 0 (drop). Since 4.17.
    60 msg_redirect_map<V>(context: impl Into<Arg>, map: &MapRef<u32, V>, key: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Applies the verdict to this many bytes of the stream. Since 4.17.
    61 msg_apply_bytes(context: impl Into<Arg>, bytes: impl Into<Arg>) -> Reg;
    /// Delays the verdict until this many bytes have accumulated. Since 4.17.
    62 msg_cork_bytes(context: impl Into<Arg>, bytes: impl Into<Arg>) -> Reg;
    /// Adds the context's socket to a sockhash; in sock_ops. Since 4.18.
    70 sock_hash_update<K, V>(context: impl Into<Arg>, map: &MapRef<K, V>, #[reads] key: impl At<K>, flags: impl Into<Arg>) -> Reg;
    /// Redirects a message to a socket of a sockhash; `flags` 1 to its ingress queue. Returns 1
    /// (pass) or 0 (drop). Since 4.18.
    71 msg_redirect_hash<K, V>(context: impl Into<Arg>, map: &MapRef<K, V>, #[reads] key: impl At<K>, flags: impl Into<Arg>) -> Reg;
    /// The id of the current task's cgroup (v2). Since 4.18.
    80 get_current_cgroup_id() -> Reg;
    /// Looks up a TCP connection or listener; null if there is none. The socket has to be released.
    /// `tuple` is `struct bpf_sock_tuple` for IPv4 (12 bytes) or IPv6 (36 bytes), as in a packet to
    /// that socket; `netns` the id of a network namespace relative to the context's, negative for
    /// the context's own. Since 4.20.
    84 sk_lookup_tcp(context: impl Into<Arg>, #[reads(size)] tuple: impl Into<Arg>, size: impl Into<Arg>, netns: impl Into<Arg>, flags: impl Into<Arg>) -> Ptr<crate::context::bpf_sock>;
    /// Releases a socket from a lookup. Since 4.20.
    86 sk_release(sk: impl Into<Arg>) -> Reg;
    /// Pushes a value into a queue, a stack or a Bloom filter; `flags` 2 drops the oldest if it is
    /// full. Since 4.20.
    87 map_push_elem<K, V>(map: &MapRef<K, V>, #[reads] value: impl At<V>, flags: impl Into<Arg>) -> Reg;
    /// Pops a value from a queue or stack; -2 (ENOENT) if it is empty. Since 4.20.
    88 map_pop_elem<K, V>(map: &MapRef<K, V>, value: impl At<V>) -> Reg;
    /// Copies the next value of a queue or stack; for a Bloom filter, 0 if it may contain the
    /// value. Since 4.20.
    89 map_peek_elem<K, V>(map: &MapRef<K, V>, value: impl At<V>) -> Reg;
    /// Locks a `bpf_spin_lock` in a map's value. Since 5.1.
    93 spin_lock(lock: impl Into<Arg>) -> Reg;
    /// Unlocks it. Since 5.1.
    94 spin_unlock(lock: impl Into<Arg>) -> Reg;
    /// A socket as full socket, or null for a request or TIME_WAIT socket. Makes all fields of
    /// a packet's socket readable. Since 5.1.
    95 sk_fullsock(sk: impl Into<Arg>) -> Ptr<crate::context::bpf_sock>;
    /// The sk_storage of a socket, or null. `flags` 1 creates it, from `initial` or zeroed. Since
    /// 5.2.
    107 sk_storage_get<K, V>(map: &MapRef<K, V>, sk: impl Into<Arg>, #[reads] initial: impl Into<Arg>, flags: impl Into<Arg>) -> Ptr<V>;
    /// Deletes the sk_storage of a socket. Since 5.2.
    108 sk_storage_delete<K, V>(map: &MapRef<K, V>, sk: impl Into<Arg>) -> Reg;
    /// Copies `size` bytes from any kernel address; zeroes `to` on failure. Since 5.5.
    113 probe_read_kernel(#[writes(size)] to: impl Into<Arg>, size: impl Into<Arg>, from: impl Into<Arg>) -> Reg;
    /// Copies a NUL-terminated string of at most `size` bytes from any kernel address, leaving the
    /// bytes after it unchanged. Returns bytes copied. Since 5.5.
    115 probe_read_kernel_str(to: impl Into<Arg>, size: impl Into<Arg>, from: impl Into<Arg>) -> Reg;
    /// The kernel's jiffies. Since 5.6.
    118 jiffies64() -> Reg;
    /// The cookie of the context's network namespace, or of the initial one for [`NULL`]. Since
    /// 5.7; in sock_ops and sk_msg since 5.15.
    122 get_netns_cookie(context: impl Into<Arg>) -> Reg;
    /// Writes bytes to an iterator's output; on -75 (EOVERFLOW) the kernel calls the program again
    /// with a larger buffer. Since 5.8.
    127 seq_write(seq: impl Into<Arg>, #[reads(size)] data: impl Into<Arg>, size: impl Into<Arg>) -> Reg;
    /// The id of a socket's cgroup (v2). Since 5.8.
    128 sk_cgroup_id(sk: impl Into<Arg>) -> Reg;
    /// Copies `size` bytes into a ring buffer; `flags` 1 suppresses the wakeup, 2 forces it. Since
    /// 5.8.
    130 ringbuf_output<K, V>(map: &MapRef<K, V>, #[reads(size)] data: impl Into<Arg>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Reserves `size` bytes (a constant) in a ring buffer, or null; to be submitted or discarded.
    /// Since 5.8.
    131 ringbuf_reserve<R, K, V>(map: &MapRef<K, V>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Ptr<R>;
    /// Submits reserved bytes. Returns nothing. Since 5.8.
    132 ringbuf_submit(data: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Discards reserved bytes. Returns nothing. Since 5.8.
    133 ringbuf_discard(data: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Casts a socket to `struct tcp6_sock`, or null. Since 5.9.
    136 skc_to_tcp6_sock(sk: impl Into<Arg>) -> Ptr<crate::context::tcp6_sock>;
    /// Casts a socket to `struct tcp_sock`, or null. Since 5.9.
    137 skc_to_tcp_sock(sk: impl Into<Arg>) -> Ptr<crate::context::tcp_sock>;
    /// Finds an option in a TCP header. `option` starts with a kind and a length: 0 for any option
    /// of the kind, or the length of the prefix to match, 4 or 6 for kinds 253 and 254 (RFC 6994).
    /// Copies the whole option to `option`, at most `size` bytes, and returns its length, or a
    /// negative errno: -42 (ENOMSG) if there is none. Since 5.10.
    142 load_hdr_opt(context: impl Into<Arg>, option: impl Into<Arg>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Appends an option to the TCP header about to be sent. Since 5.10.
    143 store_hdr_opt(context: impl Into<Arg>, #[reads(size)] option: impl Into<Arg>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Reserves bytes in the TCP header about to be sent; `flags` is 0. Since 5.10.
    144 reserve_hdr_opt(context: impl Into<Arg>, size: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// The task storage of a task, or null; `flags` 1 creates it, from `initial` or zeroed. Since
    /// 5.11.
    156 task_storage_get<K, V>(map: &MapRef<K, V>, task: impl Into<Arg>, #[reads] initial: impl Into<Arg>, flags: impl Into<Arg>) -> Ptr<V>;
    /// The current task's `struct task_struct`, whose members can be loaded. Since 5.11.
    158 get_current_task_btf() -> Ptr<crate::context::task_struct>;
    /// The socket of an open file, or null if it is not a socket. Since 5.11.
    162 sock_from_file(file: impl Into<Arg>) -> Ptr<crate::context::socket>;
    /// Calls `callback(map, key, value, context)` for each entry until it returns 1. Returns the
    /// number of calls. Since 5.13.
    164 for_each_map_elem<K, V>(map: &MapRef<K, V>, callback: &Function<4>, context: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Initialises a `bpf_timer` in a map's value; `clock` is 1 for CLOCK_MONOTONIC. Since 5.15.
    169 timer_init<K, V>(timer: impl Into<Arg>, map: &MapRef<K, V>, clock: impl Into<Arg>) -> Reg;
    /// Sets a timer's callback: `callback(map, key, value)`, which returns 0. Since 5.15.
    170 timer_set_callback(timer: impl Into<Arg>, callback: &Function<3>) -> Reg;
    /// Starts a timer that expires after this many nanoseconds. Since 5.15.
    171 timer_start(timer: impl Into<Arg>, nanoseconds: impl Into<Arg>, flags: impl Into<Arg>) -> Reg;
    /// Cancels a timer; 1 if it was active. Since 5.15.
    172 timer_cancel(timer: impl Into<Arg>) -> Reg;
    /// Compares at most `size` bytes with a string in read-only data, as C's `strncmp`. Since 5.17.
    182 strncmp(#[reads(size)] bytes: impl Into<Arg>, size: impl Into<Arg>, string: impl Into<Arg>) -> Reg;
}

/// Calls `callback(index, context)` up to this many times, until it returns 1. Returns the number
/// of calls, at most 8 Mi. Since 5.17.
///
/// Helper 181.
pub fn bpf_loop(
    times: impl Into<Arg>,
    callback: &Function<2>,
    context: impl Into<Arg>,
    flags: impl Into<Arg>,
) -> Call<Reg> {
    let context = context.into().accessed(Access::Lent, None);
    Call::raw(181, vec![times.into(), callback.into(), context, flags.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_have_the_names_of_their_numbers() {
        assert!(SIGNATURES.len() > 20);
        for &(id, known) in SIGNATURES {
            assert_eq!(name(id), known);
        }
    }
}
