use bpf_asm::{
    BuildErrors, Builder, MapKind, MapRef, Program, ProgramType, bpf_sock_addr, helper, record,
};

record! {
    struct Prefix {
        bits: u32,
        address: u32,
    }
}

const NO_PREALLOC: u32 = 1;
const RULES: MapRef<Prefix, u32> = MapRef::new("rules", MapKind::LpmTrie, 1024).flags(NO_PREALLOC);

pub fn program() -> Result<Program, BuildErrors> {
    let b = Builder::new("policy");
    let ctx = b.context::<bpf_sock_addr>();
    let prefix = b.slot::<Prefix>();
    b.store(prefix.at(Prefix::bits), 32);
    b.store(prefix.at(Prefix::address), b.load(ctx.at(bpf_sock_addr::user_ip4)));
    let allowed = b.call(helper::map_lookup_elem(&RULES, &prefix));
    b.when(allowed.ne(0), || b.when(b.load(allowed.at_all()).eq(0), || b.ret(0)));
    b.ret(1);
    b.finish(ProgramType::Connect4)
}
