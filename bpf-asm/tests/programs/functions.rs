use bpf_asm::{Arg, Builder, Reg, record};

use crate::machine::{finish, run};

record! {
    struct Pair { a: u64, b: u64 }
}

#[test]
fn a_function_takes_arguments_and_returns_a_result() {
    let b = Builder::new("main");
    let weigh = b.function("weigh", |[a, c, d]: [Reg; 3]| {
        a.mul(100);
        c.mul(10);
        a.add(&c);
        a.add(&d);
        b.ret(&a);
    });
    let pair = b.context::<Pair>();
    let (first, second) = (b.load(pair.at(Pair::a)), b.load(pair.at(Pair::b)));
    let once = b.call_local(&weigh, [Arg::from(&second), Arg::from(&first), 3.into()]);
    let twice = b.call_local(&weigh, [1.into(), 1.into(), Arg::from(&once)]);
    b.ret(&twice);
    let mut memory: Vec<u8> = [1u64, 2].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(run(&finish(b), &mut memory), 213 + 110);
}

#[test]
fn functions_call_each_other() {
    let b = Builder::new("main");
    let inner = b.function("inner", |[a]: [Reg; 1]| {
        a.add(1);
        b.ret(&a);
    });
    let outer = b.function("outer", |[a]: [Reg; 1]| {
        let once = b.call_local(&inner, [Arg::from(&a)]);
        let twice = b.call_local(&inner, [Arg::from(&once)]);
        b.ret(&twice);
    });
    let result = b.call_local(&outer, [40.into()]);
    b.ret(&result);
    let program = finish(b);
    assert_eq!(run(&program, &mut []), 42, "{program}");
}
