//! Programs on kernel functions, and iterators, read their typed contexts.

use bpf_asm::context::{
    bpf_iter__bpf_link, bpf_iter__bpf_map, bpf_iter__bpf_map_elem, bpf_iter__bpf_prog,
    bpf_iter__bpf_sk_storage_map, bpf_iter__cgroup, bpf_iter__dmabuf, bpf_iter__ipv6_route,
    bpf_iter__kmem_cache, bpf_iter__ksym, bpf_iter__netlink, bpf_iter__sockmap, bpf_iter__task,
    bpf_iter__task_file, bpf_iter__task_vma, bpf_iter__tcp, bpf_iter__udp, bpf_iter__unix, packet,
    sock, socket,
};
use bpf_asm::insn::Kernel;
use bpf_asm::{
    Address, Builder, FieldInfo, KernelField, Program, ProgramType, Record, btf, record,
};
use std::sync::Arc;

use syscalls::btf::Kind;
use syscalls::load::{self, Maps};
use syscalls::{AttachType, Btf, BtfObject, Prog, ProgBtf, ProgKind, ProgSpec};

use crate::instructions::running;

record! {
    /// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`
    struct tcp_sendmsg { sk: Address<sock>, msg: Address<packet>, size: u64, result: i64 }

    /// `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, the hook.
    struct socket_connect {
        sock: Address<socket>,
        address: Address<packet>,
        addrlen: u64,
        result: i64
    }

    /// The function that calls the hook.
    struct security_socket_connect {
        sock: Address<socket>,
        address: Address<packet>,
        addrlen: u64,
        result: i64
    }

    /// `u32 (*ssthresh)(struct sock *sk)` of `struct tcp_congestion_ops`.
    struct ssthresh { sk: Address<sock> }
}

fn kernel() -> Arc<Btf> {
    Btf::vmlinux().expect("read the kernel's BTF")
}

fn load(program: &Program) -> Result<Prog, String> {
    let maps = Maps::create([program]).expect("make the maps, as root");
    load::program(program, &maps).map_err(|error| error.to_string())
}

/// Whether the verifier accepts a program of this type. A kernel may refuse the type before it has
/// looked at the instructions, to root as well (lockdown, or a kernel that was changed so): then it
/// refuses a program that does nothing with the same words, and never is it the verifier.
fn accepted<T: Record>(kind: ProgramType, program: &Program) -> bool {
    let Err(error) = load(program) else { return true };
    const REFUSED: [&str; 2] = ["Operation not permitted", "before verifying its instructions"];
    assert!(REFUSED.iter().all(|part| error.contains(part)), "{kind:?}: {error}");
    let b = Builder::new(program.name());
    drop(b.context::<T>());
    b.ret(0);
    let nothing = b.finish(kind).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(load(&nothing).expect_err("only this program is refused"), error, "{kind:?}");
    println!("this kernel refuses programs of type {kind:?}, whatever they do: {error}");
    false
}

/// A member of a kernel structure, by its BTF.
fn member(btf: &Btf, structure: &str, path: &str) -> KernelField {
    let found = btf.member(structure, path).unwrap_or_else(|error| panic!("{error}"));
    let (offset, size) = (found.offset, found.size as u8);
    KernelField { structure: found.structure, offset, size, signed: false, bitfield: None }
}

/// A program that reads its first arguments, and its result if `read` says so.
fn traced(kind: ProgramType, read: bool) -> Program {
    let port = member(&kernel(), "sock", "__sk_common.skc_num");
    let b = Builder::new("traced");
    let call = b.context::<tcp_sendmsg>();
    let sum = b.load(call.at(tcp_sendmsg::size));
    sum.add(b.load(b.load(call.at(tcp_sendmsg::sk)).member(port)));
    if read {
        sum.add(b.load(call.at(tcp_sendmsg::result)));
    }
    b.ret(0);
    b.finish_as_written(kind).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The record of a function has its arguments, in the order of the kernel's BTF, and its result.
#[test]
fn records_of_functions_have_the_arguments_of_the_kernel() {
    let btf = kernel();
    for (function, fields) in [
        ("tcp_sendmsg", tcp_sendmsg::FIELDS),
        ("bpf_lsm_socket_connect", socket_connect::FIELDS),
        ("security_socket_connect", security_socket_connect::FIELDS),
    ] {
        let arguments = btf.arguments(function).unwrap_or_else(|error| panic!("{error}"));
        let (result, taken) = fields.split_last().expect("a result");
        let names =
            |fields: &[FieldInfo]| -> Vec<&str> { fields.iter().map(|field| field.name).collect() };
        let own: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        assert_eq!((names(taken), result.offset), (own, 8 * arguments.len()), "{function}");
    }
    let points_to = |function: &str| btf.arguments(function).expect("known")[0].points_to.clone();
    assert_eq!(points_to("tcp_sendmsg").as_deref(), Some("sock"));
    assert_eq!(points_to("bpf_lsm_socket_connect").as_deref(), Some("socket"));
}

#[test]
fn programs_at_the_entry_and_exit_of_a_function_read_its_arguments() {
    accepted::<tcp_sendmsg>(ProgramType::Exit, &traced(ProgramType::Exit, true));
    if accepted::<tcp_sendmsg>(ProgramType::Entry, &traced(ProgramType::Entry, false)) {
        // There is no result yet.
        let error = load(&traced(ProgramType::Entry, true)).expect_err("it reads a result");
        assert!(error.contains("func 'tcp_sendmsg' doesn't have 4-th argument"), "{error}");
    }
}

#[test]
fn a_program_before_a_function_decides_whether_it_runs() {
    let b = Builder::new("before");
    let call = b.context::<security_socket_connect>();
    let _length = b.load(call.at(security_socket_connect::addrlen));
    let earlier = b.load(call.at(security_socket_connect::result));
    b.when(earlier.ne(0), || b.ret(-1));
    b.ret(0);
    let program = b.finish_as_written(ProgramType::ModifyReturn).expect("a program");
    accepted::<security_socket_connect>(ProgramType::ModifyReturn, &program);
}

#[test]
fn programs_at_an_lsm_hook_read_its_arguments() {
    for kind in [ProgramType::Lsm, ProgramType::LsmCgroup] {
        let b = Builder::new("hook");
        let call = b.context::<socket_connect>();
        let length = b.load(call.at(socket_connect::addrlen));
        let called = b.load(call.at(socket_connect::sock));
        let state = member(&kernel(), "socket", "type");
        length.add(b.load(called.member(state)));
        b.ret(i32::from(kind == ProgramType::LsmCgroup));
        let program = b.finish_as_written(kind).unwrap_or_else(|errors| panic!("{errors}"));
        accepted::<socket_connect>(kind, &program);
    }
}

/// A program for a member of an operations structure.
#[test]
fn a_program_implements_a_function_of_an_operations_structure() {
    let btf = kernel();
    let b = Builder::new("ssthresh");
    let call = b.context::<ssthresh>();
    let cwnd = member(&btf, "tcp_sock", "snd_cwnd");
    let tcp = b.load(call.at(ssthresh::sk)).cast::<bpf_asm::tcp_sock>();
    let window = b.load(tcp.member(cwnd));
    window.rsh(1);
    b.ret(&window);
    let program = b.finish(ProgramType::StructOps).unwrap_or_else(|errors| panic!("{errors}"));
    let load = |index: u32| {
        let (lines, image) = (program.btf(), program.relocate(|_| -1));
        let object = BtfObject::load(&lines.blob).expect("load the program's BTF");
        let kind = ProgKind::from_raw(program.kind().number());
        let mut spec = ProgSpec::new(kind, program.name(), c"GPL", &image.insns);
        spec.attach_btf_id = btf.find(Kind::Struct, "tcp_congestion_ops").expect("known");
        spec.expected_attach_type = AttachType::from_raw(index);
        spec.btf = Some(ProgBtf {
            fd: std::os::fd::AsFd::as_fd(&object),
            func_info: &lines.func_info,
            func_info_rec_size: btf::FUNC_INFO_SIZE,
            line_info: &lines.line_info,
            line_info_rec_size: btf::LINE_INFO_SIZE,
        });
        Prog::load(&spec).map_err(|error| error.to_string())
    };
    let index = btf.member_index("tcp_congestion_ops", "ssthresh").expect("a member");
    // Here the verifier takes a `struct sock` for the `struct tcp_sock` that it is.
    load(index).unwrap_or_else(|error| panic!("{error}"));
    let other = btf.member_index("tcp_congestion_ops", "get_info").expect("a member");
    let error = load(other).expect_err("programs cannot implement it");
    assert!(error.contains("unsupported member get_info"), "{error}");
}

/// An iterator with its context.
pub struct Iterator {
    pub name: &'static str,
    pub fields: &'static [FieldInfo],
    /// A program over it, which reads every pointer of the context.
    program: fn() -> Program,
}

/// The iterators that this kernel has.
pub fn iterators() -> impl std::iter::Iterator<Item = Iterator> {
    macro_rules! iterators {
        ($($context:ident: $last:ident, $major:literal.$minor:literal;)*) => {
            [$((Kernel::new($major, $minor), Iterator {
                name: $context::NAME,
                fields: $context::FIELDS,
                program: || {
                    let b = Builder::new("walk");
                    let step = b.context::<$context>();
                    let meta = b.load(step.at($context::meta));
                    let number = b.load(meta.at(bpf_asm::bpf_iter_meta::seq_num));
                    let last = b.load(step.at($context::$last));
                    b.when(last.ne(0), || {
                        number.add(1);
                    });
                    b.ret(0);
                    b.finish_as_written(ProgramType::Iterator)
                        .unwrap_or_else(|errors| panic!("{errors}"))
                },
            })),*]
        };
    }
    let all = iterators! {
        bpf_iter__bpf_link: link, 5 . 19;
        bpf_iter__bpf_map: map, 5 . 8;
        bpf_iter__bpf_map_elem: value, 5 . 9;
        bpf_iter__bpf_prog: prog, 5 . 9;
        bpf_iter__bpf_sk_storage_map: value, 5 . 9;
        bpf_iter__cgroup: cgroup, 6 . 1;
        bpf_iter__dmabuf: dmabuf, 6 . 16;
        bpf_iter__ipv6_route: rt, 5 . 8;
        bpf_iter__kmem_cache: s, 6 . 13;
        bpf_iter__ksym: ksym, 6 . 0;
        bpf_iter__netlink: sk, 5 . 8;
        bpf_iter__sockmap: sk, 5 . 10;
        bpf_iter__task: task, 5 . 8;
        bpf_iter__task_file: file, 5 . 8;
        bpf_iter__task_vma: vma, 5 . 12;
        bpf_iter__tcp: sk_common, 5 . 8;
        bpf_iter__udp: udp_sk, 5 . 9;
        bpf_iter__unix: unix_sk, 5 . 15;
    };
    let known = running();
    all.into_iter().filter(move |(since, _)| *since <= known).map(|(_, iterator)| iterator)
}

#[test]
fn iterators_read_their_contexts() {
    for iterator in iterators() {
        let loaded = load(&(iterator.program)());
        loaded.unwrap_or_else(|error| panic!("{}: {error}", iterator.name));
    }
}
