//! The tier that a test is in: CONTRIBUTING.md says what tiers are.

/// What `cargo xtask test` says which tier runs by. Without it, whatever runs is meant to.
const VARIABLE: &str = "SHUNT_TIER";

/// Fails where another tier runs than one of `tiers`: a test in the wrong one says so before it
/// fails for what it does not find there.
#[track_caller]
pub fn only_in(tiers: &[&str]) {
    let Ok(running) = std::env::var(VARIABLE) else { return };
    assert!(
        tiers.contains(&running.as_str()),
        "this test is one of the tiers {tiers:?}, and the {running} tier runs: its package says in \
         [package.metadata.tiers] which tests are in which (CONTRIBUTING.md)"
    );
}
