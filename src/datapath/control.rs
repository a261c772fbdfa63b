//! What the agent tells every program.

use bpf_asm::{Builder, Reg};

use super::Datapath;
use super::record::Control;

/// Whether shunt is being stopped: 0 if not.
pub(super) fn draining(b: &Builder, d: &Datapath) -> Reg {
    b.load(b.map_value(&d.maps.control).at(Control::draining))
}

/// Whether what another version has enrolled drains beside this one: 0 if not.
pub(super) fn older(b: &Builder, d: &Datapath) -> Reg {
    b.load(b.map_value(&d.maps.control).at(Control::older))
}

/// How often the tracepoint at receive calls has been attached.
pub(super) fn tracings(b: &Builder, d: &Datapath) -> Reg {
    b.load(b.map_value(&d.maps.control).at(Control::tracings))
}
