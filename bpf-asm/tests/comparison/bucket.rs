use bpf_asm::{
    __sk_buff, BuildErrors, Builder, MapKind, MapRef, Program, ProgramType, bpf_spin_lock, helper,
    record,
};

record! {
    struct Bucket {
        lock: bpf_spin_lock,
        tokens: u32,
        filled: u64,
    }
}

const BURST: u32 = 300;
/// A byte per 2^30 ns.
const SHIFT: u32 = 30;
const BUCKETS: MapRef<u32, Bucket> = MapRef::new("buckets", MapKind::Array, 1);

pub fn program() -> Result<Program, BuildErrors> {
    const TC_ACT_OK: i32 = 0;
    const TC_ACT_SHOT: i32 = 2;
    let b = Builder::new("police");
    let length = b.load(b.context::<__sk_buff>().at(__sk_buff::len));
    let (key, verdict) = (b.slot::<u32>(), b.value(TC_ACT_SHOT));
    b.store(key.place(), 0);
    let bucket = b.call(helper::map_lookup_elem(&BUCKETS, &key));
    b.when(bucket.ne(0), || {
        let now = b.call(helper::ktime_get_ns());
        b.call(helper::spin_lock(bucket.at(Bucket::lock)));
        let tokens = b.value(&now);
        tokens.sub(b.load(bucket.at(Bucket::filled)));
        tokens.rsh(SHIFT);
        tokens.add(b.load(bucket.at(Bucket::tokens)));
        b.when(tokens.gt(BURST), || tokens.set(BURST));
        b.when(tokens.ge(&length), || {
            tokens.sub(&length);
            verdict.set(TC_ACT_OK);
        });
        b.store(bucket.at(Bucket::tokens), &tokens);
        b.store(bucket.at(Bucket::filled), &now);
        b.call(helper::spin_unlock(bucket.at(Bucket::lock)));
    });
    b.ret(&verdict);
    b.finish(ProgramType::Classifier)
}
