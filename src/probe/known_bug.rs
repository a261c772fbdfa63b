//! Known bugs of the kernel in what shunt uses (socket maps, sk_msg, verdicts, iterators over TCP
//! sockets) or close to it, and the affected versions: the first question of an operator.
//!
//! Only here is the version decisive, because these bugs cannot be tested: most need a race, and
//! some crash. [`super::behaviour`] tests the rest where it matters to shunt.
//!
//! Sources, named at each bug: *CVE* is the record in CVEProject/cvelistV5, whose "unaffected"
//! versions are copied. *ChangeLog* is the kernel's own of a stable release as quoted by Debian's
//! package `linux` (5.10.262, 6.1.192, 6.12.118, 7.3.4), by commit subject; it covers only the
//! series that Debian ships, so for the rest only the mainline version is listed. It does not name
//! the first affected release: that is inferred from the history of the code, and too early rather
//! than too late.

use std::{fmt, fs};

/// A kernel release, such as `6.12.8`; the first of a series has patch 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    series: (u16, u16),
    patch: u16,
}

/// Whether shunt can trigger a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In normal operation.
    Ordinary,
    /// Only under this condition.
    If(&'static str),
    /// Never, for this reason, although the kernel has the bug.
    Never(&'static str),
}

/// A bug of some releases.
#[derive(Debug)]
pub struct KnownBug {
    /// CVE number, else the subject of the commit that fixes it.
    pub id: &'static str,
    /// What happens, in one sentence.
    pub what: &'static str,
    /// Whether shunt can trigger it.
    pub reach: Reach,
    /// The first affected release of each series that got the bug by a backport; last, and usually
    /// alone, that of mainline.
    since: &'static [Version],
    /// The first fixed release of each stable series; last, that of mainline.
    fixed: &'static [Version],
}

const fn v(major: u16, minor: u16, patch: u16) -> Version {
    Version { series: (major, minor), patch }
}

/// In order of their year.
pub const ALL: &[KnownBug] = &[
    // CVE; the record itself was not read. "bpf, sockmap: Fix more uncharged while msg has
    // more_data", which ChangeLog-5.10.110 lists beside CVE-2022-49205, whose releases are taken.
    KnownBug {
        id: "CVE-2022-49204",
        what: "A message that is sent in parts is uncharged twice, and socket memory is \
               miscounted.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 110), v(5, 15, 33), v(5, 16, 19), v(5, 17, 2), v(5, 18, 0)],
    },
    // CVE. "bpf, sockmap: Fix double uncharge the mem of sk_msg".
    KnownBug {
        id: "CVE-2022-49205",
        what: "A message whose redirect fails is uncharged twice, and socket memory is miscounted.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 110), v(5, 15, 33), v(5, 16, 19), v(5, 17, 2), v(5, 18, 0)],
    },
    // CVE (5.15.33); the record itself was not read, so the first affected release is inferred.
    KnownBug {
        id: "CVE-2022-49207",
        what: "Messages that are redirected to a socket that is being closed are leaked.",
        reach: Reach::Ordinary,
        since: &[v(5, 15, 0)],
        fixed: &[v(5, 15, 33), v(5, 18, 0)],
    },
    // CVE; 5.10 by ChangeLog-5.10.258. "bpf, sockmap: Fix an infinite loop error when len is 0 in
    // tcp_bpf_recvmsg_parser()".
    KnownBug {
        id: "CVE-2023-53133",
        what: "A recv with a length of 0 on an enrolled socket never returns.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 258), v(5, 15, 103), v(6, 1, 20), v(6, 2, 7), v(6, 3, 0)],
    },
    // ChangeLog-6.1.32; in mainline by 6.4, whose development the series of commits belongs to.
    KnownBug {
        id: "bpf, sockmap: Incorrectly handling copied_seq; Handle fin correctly; TCP data stall \
             on recv before accept",
        what: "With a verdict, TCP bytes are counted as read on arrival, the end of a stream can \
               come early, and bytes received before accept can stall.",
        reach: Reach::Ordinary,
        since: &[v(5, 13, 0)],
        fixed: &[v(6, 1, 32), v(6, 4, 0)],
    },
    // ChangeLog-6.1.57, -6.5.7; in mainline by 6.6.
    KnownBug {
        id: "bpf: tcp_read_skb needs to pop skb regardless of seq",
        what: "With a verdict, a segment that overlaps received bytes stops the queue.",
        reach: Reach::Ordinary,
        since: &[v(6, 0, 0)],
        fixed: &[v(6, 1, 57), v(6, 5, 7), v(6, 6, 0)],
    },
    // ChangeLog-6.1.42, -6.4.7; in mainline by 6.5. That an update takes the lock: sock_map.c.
    KnownBug {
        id: "bpf: tcp: Avoid taking fast sock lock in iterator",
        what: "A program that puts a socket into a map while it iterates over TCP sockets \
               deadlocks.",
        reach: Reach::Never("shunt tests first whether the iterator owns the lock"),
        since: &[v(5, 15, 0)],
        fixed: &[v(6, 1, 42), v(6, 4, 7), v(6, 5, 0)],
    },
    // CVE; the first release is inferred. "bpf, sockmap: Fix NULL pointer dereference in
    // sk_psock_verdict_data_ready()".
    KnownBug {
        id: "CVE-2024-26731",
        what: "A segment that arrives while its socket leaves the map crashes the kernel.",
        reach: Reach::Ordinary,
        since: &[v(5, 15, 0)],
        fixed: &[v(6, 1, 80), v(6, 6, 19), v(6, 7, 7), v(6, 8, 0)],
    },
    // CVE. "bpf, skmsg: Fix NULL pointer dereference in sk_psock_skb_ingress_enqueue".
    KnownBug {
        id: "CVE-2024-36938",
        what: "Bytes that arrive while their receiver leaves the map crash the kernel.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 223), v(5, 15, 159), v(6, 1, 91), v(6, 6, 31), v(6, 8, 10), v(6, 9, 0)],
    },
    // CVE. "sock_map: avoid race between sock_map_close and sk_psock_put".
    KnownBug {
        id: "CVE-2024-39500",
        what: "A socket that is closed while it is taken out of the map makes the kernel warn.",
        reach: Reach::Ordinary,
        since: &[v(5, 13, 0)],
        fixed: &[v(5, 15, 162), v(6, 1, 95), v(6, 6, 35), v(6, 9, 6), v(6, 10, 0)],
    },
    // CVE. "skmsg: Skip zero length skb in sk_msg_recvmsg".
    KnownBug {
        id: "CVE-2024-41048",
        what: "Reading the end of a stream that came to a verdict crashes the kernel on processors \
               that detect it (LoongArch; not x86).",
        reach: Reach::If("the machine is not x86"),
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 15, 163), v(6, 1, 100), v(6, 6, 41), v(6, 9, 10), v(6, 10, 0)],
    },
    // CVE. "tcp_bpf: fix return value of tcp_bpf_sendmsg()".
    KnownBug {
        id: "CVE-2024-46783",
        what: "A send of a large message that fails half-way can return a wrong number.",
        reach: Reach::Ordinary,
        since: &[v(4, 17, 0)],
        fixed: &[
            v(5, 10, 226),
            v(5, 15, 167),
            v(6, 1, 110),
            v(6, 6, 51),
            v(6, 10, 10),
            v(6, 11, 0),
        ],
    },
    // CVE. "sock_map: Add a cond_resched() in sock_hash_free()".
    KnownBug {
        id: "CVE-2024-47710",
        what: "Freeing a large sockhash keeps a processor busy so long that the kernel warns.",
        reach: Reach::Ordinary,
        since: &[v(5, 8, 0)],
        fixed: &[
            v(5, 10, 227),
            v(5, 15, 168),
            v(6, 1, 113),
            v(6, 6, 54),
            v(6, 10, 13),
            v(6, 11, 2),
            v(6, 12, 0),
        ],
    },
    // CVE. "tcp_bpf: Fix the sk_mem_uncharge logic in tcp_bpf_sendmsg".
    KnownBug {
        id: "CVE-2024-56633",
        what: "A redirect that fails leaves the sender's socket memory miscounted.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 231), v(5, 15, 174), v(6, 1, 120), v(6, 6, 66), v(6, 12, 5), v(6, 13, 0)],
    },
    // CVE. "bpf, sockmap: Fix race between element replace and close()": of sockmaps, by index.
    KnownBug {
        id: "CVE-2024-56664",
        what: "An entry of a sockmap that is replaced while its socket is closed is used after it \
               was freed.",
        reach: Reach::Never("shunt never replaces an entry"),
        since: &[v(4, 20, 0)],
        fixed: &[v(5, 10, 236), v(5, 15, 180), v(6, 1, 125), v(6, 6, 67), v(6, 12, 6), v(6, 13, 0)],
    },
    // CVE; it came with the fix of CVE-2024-39500. "bpf, sockmap: Avoid using sk_socket after free
    // when sending".
    KnownBug {
        id: "CVE-2025-38154",
        what: "A segment that a verdict sends out by another socket uses that socket after it was \
               freed.",
        reach: Reach::Never("shunt's verdict sends nothing out"),
        since: &[v(5, 15, 162), v(6, 1, 95), v(6, 6, 35), v(6, 9, 6), v(6, 10, 0)],
        fixed: &[v(5, 15, 186), v(6, 1, 142), v(6, 6, 94), v(6, 12, 34), v(6, 15, 3), v(6, 16, 0)],
    },
    // CVE. "bpf, sockmap: Fix panic when calling skb_linearize".
    KnownBug {
        id: "CVE-2025-38165",
        what: "A segment of more than 17 pieces that the verdict could not queue at once crashes \
               the kernel.",
        reach: Reach::If("the kernel is short of memory when a large segment arrives"),
        since: &[v(6, 1, 54), v(6, 5, 4), v(6, 6, 0)],
        fixed: &[v(6, 1, 142), v(6, 6, 94), v(6, 12, 34), v(6, 15, 3), v(6, 16, 0)],
    },
    // ChangeLog-6.1.142, -6.12.35; in mainline by 6.16, being fixed in 6.12 in June 2025.
    KnownBug {
        id: "bpf, sockmap: Fix data lost during EAGAIN retries",
        what: "A segment that the verdict could not queue at once can be lost.",
        reach: Reach::If("the kernel is short of memory when a segment arrives"),
        since: &[v(5, 13, 0)],
        fixed: &[v(6, 1, 142), v(6, 12, 35), v(6, 16, 0)],
    },
    // CVE. "tcp_bpf: Call sk_msg_free() when tcp_bpf_send_verdict() fails to allocate psock->cork."
    KnownBug {
        id: "CVE-2025-39913",
        what: "A program that corks messages leaks socket memory when the kernel is short of it.",
        reach: Reach::Never("shunt does not cork messages"),
        since: &[v(4, 17, 0)],
        fixed: &[
            v(5, 10, 245),
            v(5, 15, 194),
            v(6, 1, 153),
            v(6, 6, 107),
            v(6, 12, 48),
            v(6, 16, 8),
            v(6, 17, 0),
        ],
    },
    // ChangeLog-6.1.159, -6.12.60; in mainline by 6.18.
    KnownBug {
        id: "mptcp: Disallow MPTCP subflows from sockmap",
        what: "A subflow of MPTCP in a socket map makes the kernel warn and breaks the connection.",
        reach: Reach::Never("shunt leaves MPTCP alone"),
        since: &[v(5, 6, 0)],
        fixed: &[v(6, 1, 159), v(6, 12, 60), v(6, 18, 0)],
    },
    // ChangeLog-6.1.165, -6.12.75; 6.6.128 by the issue BetterStackHQ/collector#141, of the commit
    // that came with it; 6.18 was reviewed on 24 February 2026, and Debian's 6.18.15 has it; 7.0
    // has b40cc5adaa80.
    KnownBug {
        id: "bpf, sockmap: Fix incorrect copied_seq calculation",
        what: "Redirected bytes count as read from TCP: that many bytes are skipped when a socket \
               continues by TCP after it has left the map.",
        reach: Reach::Ordinary,
        since: &[v(4, 20, 0)],
        fixed: &[v(6, 1, 165), v(6, 6, 128), v(6, 12, 75), v(6, 18, 15), v(7, 0, 0)],
    },
    // CVE; 6.1 by ChangeLog-6.1.191. "bpf: sockmap: Fix use-after-free of sk->sk_socket in
    // sk_psock_verdict_data_ready()."
    KnownBug {
        id: "CVE-2026-43016",
        what: "A Unix socket with a verdict is used after it was freed when it is closed while its \
               peer sends.",
        reach: Reach::Never("shunt enrols only TCP sockets"),
        since: &[v(5, 15, 0)],
        fixed: &[v(6, 1, 191), v(6, 6, 134), v(6, 12, 81), v(6, 18, 22), v(6, 19, 12), v(7, 0, 0)],
    },
    // CVE; 6.1 by ChangeLog-6.1.191. "bpf, skmsg: fix verdict sk_data_ready racing with ktls rx".
    KnownBug {
        id: "CVE-2026-64025",
        what: "An enrolled socket that turns kTLS on is decrypted from memory that was freed.",
        reach: Reach::Never("shunt rejects kTLS on enrolled sockets"),
        since: &[v(5, 10, 0)],
        fixed: &[v(6, 1, 191), v(6, 6, 142), v(6, 12, 92), v(6, 18, 34), v(7, 0, 11), v(7, 1, 0)],
    },
    // CVE. "bpf: tcp: fix double sock release on batch realloc"; 6.1 and 6.12 by their ChangeLogs.
    KnownBug {
        id: "CVE-2026-64575",
        what: "An iterator over TCP sockets that finds no memory releases sockets twice.",
        reach: Reach::If("connections are adopted while the kernel is short of memory"),
        since: &[v(6, 17, 0)],
        fixed: &[v(6, 1, 183), v(6, 12, 104), v(6, 18, 42), v(7, 1, 6), v(7, 2, 0)],
    },
    // CVE. "bpf, sockmap: Fix cork use-after-free in tcp_bpf_sendmsg()".
    KnownBug {
        id: "CVE-2026-68284",
        what: "Two threads that send on one socket whose program corks messages free one of them \
               twice.",
        reach: Reach::Never("shunt does not cork messages"),
        since: &[v(4, 20, 0)],
        fixed: &[
            v(5, 10, 265),
            v(5, 15, 216),
            v(6, 1, 183),
            v(6, 6, 148),
            v(6, 12, 101),
            v(6, 18, 42),
            v(7, 1, 6),
            v(7, 2, 0),
        ],
    },
    // CVE. "bpf, sockmap: Fix sk_redir use-after-free in send verdict": while apply_bytes is left.
    KnownBug {
        id: "CVE-2026-74589",
        what: "Two threads that send on one socket, whose program decides for a number of bytes, \
               use the receiver after it was freed.",
        reach: Reach::Never("shunt decides for each message separately"),
        since: &[v(4, 20, 0)],
        fixed: &[
            v(5, 10, 265),
            v(5, 15, 216),
            v(6, 1, 183),
            v(6, 6, 152),
            v(6, 12, 104),
            v(6, 18, 45),
            v(7, 1, 9),
            v(7, 2, 0),
        ],
    },
    // CVE. "bpf: tcp: Fix use-after-free in bpf_iter_tcp_established_batch()".
    KnownBug {
        id: "CVE-2026-74714",
        what: "An iterator over TCP sockets that meets a connection that is just being opened \
               uses it after it was freed.",
        reach: Reach::If("connections are adopted while others are being opened"),
        since: &[v(5, 15, 0)],
        fixed: &[v(6, 1, 183), v(6, 6, 152), v(6, 12, 104), v(6, 18, 45), v(7, 1, 9), v(7, 2, 0)],
    },
    // CVE; 6.1 by ChangeLog-6.1.189. "tls: reject the combination of TLS and sockmap".
    KnownBug {
        id: "CVE-2026-93824",
        what: "kTLS on a socket in a map has many bugs, some of them exploitable; fixed kernels \
               reject it.",
        reach: Reach::Never("shunt rejects kTLS on enrolled sockets"),
        since: &[v(4, 20, 0)],
        fixed: &[v(6, 1, 189), v(6, 12, 111), v(6, 18, 53), v(7, 2, 0)],
    },
    // ChangeLog-6.1.189, -6.12.112; its record, CVE-2026-98925, was not available in full. Debian's
    // changelog of 7.3.4 does not list it, so mainline had the fix by 7.3.
    KnownBug {
        id: "CVE-2026-98925",
        what: "A segment that a verdict redirects to its own socket is counted as read twice.",
        reach: Reach::Never("shunt's verdict redirects nothing"),
        since: &[v(6, 1, 165), v(6, 12, 75), v(6, 18, 15), v(7, 0, 0)],
        fixed: &[v(6, 1, 189), v(6, 12, 112), v(7, 3, 0)],
    },
];

/// Shown with known bugs: the version says little about a distribution's kernel.
pub const CAVEAT: &str = "Judged by the version alone. Distributions backport fixes without \
                          changing the version: look the identifier up in your distribution's \
                          security tracker.";

/// Whether an iterator over socket storage may crash this release: since 7.0, an element of socket
/// storage loses its owner, by which its socket is found, before it is freed, and
/// `__bpf_sk_storage_map_seq_show` does not check again. 7.3.4 hit this null pointer (at 0x88)
/// while hundreds of connections closed.
pub fn storage_iterators_crash(release: &str) -> bool {
    Version::of_release(release).is_some_and(|version| version.series >= (7, 0))
}

/// The upstream release of the running kernel: `uname -r`, except on distributions that keep it for
/// years. Debian has the release in the version (`#1 SMP Debian 6.1.192-3 (2026-…)`), Ubuntu in a
/// separate file (`Ubuntu 6.8.0-31.31-generic 6.8.1`).
pub fn running() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let signature = read("/proc/version_signature");
    let (version, release) = (read("/proc/sys/kernel/version"), read("/proc/sys/kernel/osrelease"));
    made_from(&signature, &version).unwrap_or(release.trim()).to_owned()
}

fn made_from<'a>(signature: &'a str, version: &'a str) -> Option<&'a str> {
    let ubuntu = signature.split_whitespace().nth(2);
    ubuntu.or_else(|| version.split_whitespace().skip_while(|word| *word != "Debian").nth(1))
}

/// The known bugs of a release, judged by its version. Empty if that cannot be parsed.
pub fn affecting(release: &str) -> Vec<&'static KnownBug> {
    let Some(release) = Version::of_release(release) else { return Vec::new() };
    ALL.iter().filter(|bug| bug.affects(release)).collect()
}

impl KnownBug {
    fn affects(&self, release: Version) -> bool {
        release.is_at_or_after(self.since) && !release.is_at_or_after(self.fixed)
    }

    /// The releases with the fix, as text.
    pub fn fixed(&self) -> String {
        self.fixed.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Version {
    /// Parses the version at the start of a release (`uname -r`): `6.12.117+deb13-amd64`.
    pub fn of_release(release: &str) -> Option<Version> {
        fn number(text: &str) -> Option<(u16, &str)> {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            Some((text[..digits].parse().ok()?, &text[digits..]))
        }
        let (major, rest) = number(release.trim())?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let patch = rest.strip_prefix('.').and_then(number).map_or(0, |(patch, _)| patch);
        Some(Version { series: (major, minor), patch })
    }

    /// Whether it contains a change that arrived with these releases: one for each series with a
    /// backport, the last for mainline.
    fn is_at_or_after(self, changes: &[Version]) -> bool {
        match changes.iter().find(|change| change.series == self.series) {
            Some(change) => self.patch >= change.patch,
            None => changes.last().is_some_and(|mainline| self.series > mainline.series),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((major, minor), patch) = (self.series, self.patch);
        match patch {
            0 => write!(f, "{major}.{minor}"),
            _ => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Ordinary => f.write_str("shunt can trigger it"),
            Reach::If(condition) => write!(f, "shunt can trigger it if {condition}"),
            Reach::Never(reason) => write!(f, "shunt cannot trigger it: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(release: &str) -> Vec<&'static str> {
        affecting(release).iter().map(|bug| bug.id).collect()
    }

    #[test]
    fn releases_are_read_with_the_suffixes_of_distributions() {
        let releases = [
            ("6.18.44-fc-v782", v(6, 18, 44)),
            ("6.1.0-56-cloud-amd64", v(6, 1, 0)),
            ("6.12.117+deb13-cloud-amd64\n", v(6, 12, 117)),
            ("5.14.0-687.5.4.el9_8.x86_64", v(5, 14, 0)),
            ("7.0.0-22-generic", v(7, 0, 0)),
            ("6.16-rc1", v(6, 16, 0)),
            ("7.3", v(7, 3, 0)),
        ];
        for (release, version) in releases {
            assert_eq!(Version::of_release(release), Some(version), "{release}");
        }
        for release in ["", "linux", "6", "6.x", "99999.1"] {
            assert_eq!(Version::of_release(release), None, "{release}");
            assert!(affecting(release).is_empty(), "{release}");
        }
    }

    #[test]
    fn iterators_over_socket_storage_crash_linux_7_and_nothing_before() {
        assert!(
            ["7.0", "7.3.4+deb13-cloud-amd64", "8.1"]
                .iter()
                .all(|release| storage_iterators_crash(release))
        );
        assert!(
            !["6.12.118", "6.18.44-fc-v782", "linux"]
                .iter()
                .any(|release| storage_iterators_crash(release))
        );
    }

    #[test]
    fn the_upstream_release_is_read_where_distributions_write_it() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-3 (2026-11-20)";
        assert_eq!(made_from("", debian), Some("6.1.192-3"));
        assert_eq!(
            made_from("Ubuntu 6.8.0-31.31-generic 6.8.1\n", "#31-Ubuntu SMP"),
            Some("6.8.1")
        );
        assert_eq!(made_from("", "#1 SMP PREEMPT_DYNAMIC @0"), None);
        assert!(Version::of_release(&running()).is_some(), "{:?}", running());
    }

    #[test]
    fn a_bug_affects_releases_from_its_first_until_its_series_or_mainline_is_fixed() {
        let has = |release: &str| ids(release).contains(&"CVE-2024-39500");
        let (with, without) =
            (["5.13", "5.15.161", "6.1.94", "6.8.12", "6.9.5"], ["5.10.1", "5.15.162", "6.1.95"]);
        assert!(with.iter().all(|release| has(release)));
        assert!(!without.iter().chain(&["6.9.6", "6.10", "6.12.1", "7.3.4"]).any(|r| has(r)));
    }

    #[test]
    fn a_bug_introduced_by_a_backport_is_not_older_than_it() {
        let has = |release: &str| ids(release).contains(&"CVE-2025-38154");
        assert!(!has("6.1.94") && has("6.1.95") && has("6.1.141") && !has("6.1.142"));
        assert!(!has("6.8.1") && has("6.11.3") && !has("6.16"));
    }

    #[test]
    fn the_releases_of_a_bug_are_sorted_and_each_series_is_listed_once() {
        for bug in ALL {
            for versions in [bug.since, bug.fixed] {
                assert!(versions.is_sorted_by(|a, b| a.series < b.series), "{}", bug.id);
                let mainline = versions.last().expect("one at least");
                assert!(mainline.patch == 0 || versions.len() > 1, "{}", bug.id);
            }
            assert!(bug.what.ends_with('.'), "{}", bug.id);
            let same = ALL.iter().filter(|other| other.id == bug.id).count();
            assert_eq!(same, 1, "{}", bug.id);
            assert!(bug.affects(*bug.since.last().expect("one at least")), "{}", bug.id);
        }
    }

    #[test]
    fn the_newest_kernels_have_no_known_bug() {
        assert!(ids("7.3.4").is_empty(), "{:?}", ids("7.3.4"));
        assert!(ids("6.1.192").is_empty(), "{:?}", ids("6.1.192"));
        assert!(ids("6.12.118").is_empty(), "{:?}", ids("6.12.118"));
    }
}
