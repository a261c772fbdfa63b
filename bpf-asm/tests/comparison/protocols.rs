use bpf_asm::{
    BuildErrors, Builder, MapKind, MapRef, Program, ProgramType, helper, record, xdp_md,
};

record! {
    struct Headers {
        ethernet: [u16; 6],
        ethertype: u16,
        ip: [u8; 9],
        protocol: u8,
        rest: [u16; 5],
    }
    struct Traffic {
        packets: u64,
        bytes: u64,
    }
    struct News {
        protocol: u32,
        length: u32,
    }
}

const PROTOCOLS: MapRef<u32, Traffic> = MapRef::new("protocols", MapKind::PerCpuArray, 256);
const FIRST: MapRef<(), ()> = MapRef::ring_buffer("first", 4096);

pub fn program() -> Result<Program, BuildErrors> {
    const XDP_PASS: i32 = 2;
    let b = Builder::new("count");
    let ctx = b.context::<xdp_md>();
    b.block(|pass| {
        let length = b.load(ctx.at(xdp_md::data_end));
        let headers = b.load(ctx.at(xdp_md::data)).cast::<Headers>();
        let behind = b.value(&headers);
        behind.add(size_of::<Headers>());
        b.jump_if(behind.gt(&length), pass);
        b.jump_if(b.load(headers.at(Headers::ethertype)).ne(0x0800_u16.to_be()), pass);
        length.sub(&headers);
        let (key, protocol) = (b.slot::<u32>(), b.load(headers.at(Headers::protocol)));
        b.store(key.place(), &protocol);
        let traffic = b.call(helper::map_lookup_elem(&PROTOCOLS, &key));
        b.jump_if(traffic.eq(0), pass);
        let packets = b.load(traffic.at(Traffic::packets));
        // The first packet of a protocol on this processor.
        b.when(packets.eq(0), || {
            let news = b.call(helper::ringbuf_reserve::<News, _, _>(&FIRST, size_of::<News>(), 0));
            b.when(news.ne(0), || {
                b.store(news.at(News::protocol), &protocol);
                b.store(news.at(News::length), &length);
                b.call(helper::ringbuf_submit(&news, 0));
            });
        });
        packets.add(1);
        b.store(traffic.at(Traffic::packets), &packets);
        length.add(b.load(traffic.at(Traffic::bytes)));
        b.store(traffic.at(Traffic::bytes), &length);
    });
    b.ret(XDP_PASS);
    b.finish(ProgramType::Xdp)
}
