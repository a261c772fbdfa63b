//! The tier that a test is in: CONTRIBUTING.md says what tiers are.

/// Set by `cargo xtask test` to the tier that runs. Without it, every test may run.
const VARIABLE: &str = "SHUNT_TIER";

/// Fails where another tier runs than one of `tiers`: a test in the wrong tier says so before it
/// fails for want of a tool or privilege.
#[track_caller]
pub fn only_in(tiers: &[&str]) {
    let Ok(running) = std::env::var(VARIABLE) else { return };
    assert!(
        tiers.contains(&running.as_str()),
        "this test is one of the tiers {tiers:?}, and the {running} tier runs: its package says in \
         [package.metadata.tiers] which tests are in which (CONTRIBUTING.md)"
    );
}
