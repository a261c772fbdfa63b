//! A static binary that runs at any address holds a list of the addresses in it. The C library
//! reads it in packed form (`DT_RELR`, a thirtieth of its size, 200 KB of this binary) since glibc
//! 2.36: one that is linked by an older one would end before `main`.

use std::process::Command;

/// The first version of glibc whose static start-up code unpacks it (elf/dynamic-link.h).
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Of a C library for other machines nothing is known.
    if std::env::var("HOST") == std::env::var("TARGET")
        && glibc().is_some_and(|version| version >= SINCE)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The C library of this machine, as `getconf` tells it: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
