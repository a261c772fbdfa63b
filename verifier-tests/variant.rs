//! All variants of the datapath that kernels and configurations can require.

use std::sync::LazyLock;

use bpf_asm::{KernelField, Program};
use tcp_shunt::datapath::{Datapath, Layout, Passes, Settings};
use tcp_shunt::kernel;
use tcp_shunt::probe::Answers;

/// The timer frequencies of kernels, the usual one first.
const HZ: [u32; 4] = [250, 100, 300, 1000];

/// The size of maps, on which no instruction depends.
const FLOWS: u32 = 1024;

/// An optional feature of kernels, and the layout members that belong to it.
struct Feature {
    name: &'static str,
    members: &'static [fn(&mut Layout) -> &mut Option<KernelField>],
}

/// Together, these have every optional member of [`Layout`].
const FEATURES: [Feature; 5] = [
    Feature { name: "connection tracking", members: &[|layout| &mut layout.conntrack_established] },
    Feature { name: "MPTCP", members: &[|layout| &mut layout.is_mptcp] },
    Feature {
        name: "IPv6",
        members: &[|layout| &mut layout.local_v6, |layout| &mut layout.remote_v6],
    },
    Feature {
        name: "limits of socket memory",
        members: &[
            |layout| &mut layout.memory_cgroup,
            |layout| &mut layout.socket_memory_used,
            |layout| &mut layout.socket_memory_limit,
        ],
    },
    Feature { name: "counts for readers", members: &[|layout| &mut layout.asks_for_counts] },
];

impl Feature {
    fn remove_from(&self, layout: &mut Layout) {
        self.members.iter().for_each(|member| *member(layout) = None);
    }

    fn is_present(&self, layout: &Layout) -> bool {
        let mut layout = layout.clone();
        self.members.iter().all(|member| member(&mut layout).is_some())
    }
}

/// A program for a kind of kernel.
pub struct Variant {
    /// The differences to the usual kernel, with all features and 250 Hz.
    pub name: String,
    /// The program.
    pub program: Program,
}

/// This kernel's layout.
fn layout() -> Layout {
    kernel::layout().expect("read the layout of this kernel's structures")
}

/// Settings with the enrolment program that this kernel accepts.
fn settings(hz: u32) -> Settings {
    static PASSES: LazyLock<Passes> = LazyLock::new(|| Answers::default().passes());
    Settings { flows: FLOWS, hz, passes: *PASSES }
}

/// The datapath as the agent assembles it for this kernel.
pub fn usual() -> Datapath {
    Datapath::new(layout(), settings(HZ[0]))
}

/// Every program in every variant. Variants with the same instructions are merged under the name of
/// the first.
pub fn all() -> Vec<Variant> {
    let layout = layout();
    let mut variants: Vec<(Vec<u8>, Variant)> = Vec::new();
    for datapath in datapaths(&layout) {
        for (_, program) in datapath.programs().expect("assemble") {
            let insns = program.relocate(|_| 0).insns;
            if !variants
                .iter()
                .any(|(known, variant)| *known == insns && variant.program.name() == program.name())
            {
                variants.push((insns, Variant { name: name(&datapath), program }));
            }
        }
    }
    variants.into_iter().map(|(_, variant)| variant).collect()
}

/// Every set of features with the usual frequency, and the other frequencies with every feature: a
/// frequency is a number in some instructions, whichever others there are. Those that lack less come
/// first.
fn datapaths(layout: &Layout) -> impl Iterator<Item = Datapath> {
    let frequencies = HZ.map(|hz| Datapath::new(layout.clone(), settings(hz)));
    let mut lacking: Vec<u32> = (1..1 << FEATURES.len()).collect();
    lacking.sort_by_key(|set| set.count_ones());
    let incomplete = lacking.into_iter().map(move |lacking| {
        let mut layout = layout.clone();
        let lacked = FEATURES.iter().enumerate().filter(|(number, _)| lacking & 1 << number != 0);
        lacked.for_each(|(_, feature)| feature.remove_from(&mut layout));
        Datapath::new(layout, settings(HZ[0]))
    });
    frequencies.into_iter().chain(incomplete)
}

fn name(datapath: &Datapath) -> String {
    let mut parts: Vec<String> = Vec::new();
    if datapath.settings.hz != HZ[0] {
        parts.push(format!("{} Hz", datapath.settings.hz));
    }
    let lacked = FEATURES.iter().filter(|feature| !feature.is_present(&datapath.layout));
    parts.extend(lacked.map(|feature| format!("no {}", feature.name)));
    if parts.is_empty() { "usual".into() } else { parts.join(", ") }
}

#[test]
fn every_setting_and_every_feature_of_this_kernel_changes_some_program() {
    let assemble = |datapath: &Datapath| {
        datapath.programs().expect("assemble").map(|(_, p)| p.relocate(|_| 0).insns)
    };
    let usual = usual();
    let present: Vec<&Feature> =
        FEATURES.iter().filter(|feature| feature.is_present(&usual.layout)).collect();
    assert!(!present.is_empty(), "this kernel has no optional feature");
    for feature in present {
        let mut without = usual.clone();
        feature.remove_from(&mut without.layout);
        assert_ne!(assemble(&without), assemble(&usual), "no program depends on {}", feature.name);
    }
    for hz in &HZ[1..] {
        let other = Datapath { settings: Settings { hz: *hz, ..usual.settings }, ..usual.clone() };
        assert_ne!(assemble(&other), assemble(&usual), "{hz} Hz does not differ from the usual");
    }
}

/// A member is optional if the layout can be read without it.
#[test]
fn the_features_have_every_optional_member_of_the_layout() {
    let field = KernelField { structure: 0, offset: 0, size: 8, signed: false, bitfield: None };
    let read_without = |missing: Option<usize>| {
        let mut asked = 0;
        let member = |_: &str, _: &str| {
            asked += 1;
            if missing == Some(asked - 1) { Err(()) } else { Ok(field) }
        };
        let read = Layout::read(member, |_| Ok(0), |_| Ok(0), |_| None).is_ok();
        (read, asked)
    };
    let (_, members) = read_without(None);
    let optional = (0..members).filter(|member| read_without(Some(*member)).0).count();
    // Older kernels have others in place of two: the cgroup of a socket and the parent folder.
    assert_eq!(optional - 2, FEATURES.iter().map(|feature| feature.members.len()).sum::<usize>());
}
