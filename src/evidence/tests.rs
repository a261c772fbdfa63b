//! Real programs, as `.ci/install applications` leaves them, and small ones
//! that are compiled here.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// Finds an installed program.
fn program(name: &str) -> PathBuf {
    let elsewhere =
        ["/usr/bin", "/usr/sbin", "/lib/systemd", "/usr/lib/systemd"].map(PathBuf::from);
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let home = std::env::home_dir().unwrap_or_default();
    let rust = std::env::var_os("PATH").unwrap_or_default();
    elsewhere
        .into_iter()
        .chain(versions.map(|version| version.path().join("bin")))
        .chain([home.join(".cache/shunt-applications")])
        .chain(std::env::split_paths(&rust))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; run .ci/install"))
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Compiles C.
fn c(directory: &TempDir, source: &str, options: &[&str]) -> PathBuf {
    let (file, program_file) = (directory.path().join("c.c"), directory.path().join("c"));
    fs::write(&file, source).expect("write a source");
    run(Command::new(program("cc"))
        .args(["-O2", "-o"])
        .arg(&program_file)
        .arg(&file)
        .args(options));
    program_file
}

/// Compiles Rust.
fn rust(directory: &TempDir, source: &str, options: &[&str]) -> PathBuf {
    let (file, program_file) = (directory.path().join("r.rs"), directory.path().join("r"));
    fs::write(&file, source).expect("write a source");
    let mut rustc = Command::new(program("rustc"));
    run(rustc.args(["--edition=2024", "-o"]).arg(&program_file).arg(&file).args(options));
    program_file
}

/// Compiles Go for a GOARCH.
fn go(directory: &TempDir, source: &str, machine: &str) -> PathBuf {
    let (file, program_file) = (directory.path().join("g.go"), directory.path().join("g"));
    fs::write(&file, source).expect("write a source");
    let mut go = Command::new(program("go"));
    go.args(["build", "-o"]).arg(&program_file).arg(&file).current_dir(directory.path());
    let cache = directory.path().join("cache");
    run(go.env("GOARCH", machine).env("GOCACHE", cache).env("GOFLAGS", "-mod=mod"));
    program_file
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("make a directory")
}

/// Judges one file.
fn judge(path: &Path) -> rules::Evidence {
    let file = File::open(path).expect("open a program");
    rules::judge(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The strongest evidence in a program and the libraries that ldd lists.
fn judge_linked(name: &str) -> Finding {
    let program_file = program(name);
    let listed = Command::new("ldd").arg(&program_file).output().expect("run ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words =
        listed.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    let mut examiner = Examiner::new();
    std::iter::once(program_file.as_path())
        .chain(words.map(Path::new))
        .map(|path| {
            let (file, identity) = open(path).expect("open");
            let judged = examiner.judge(&file, identity, false, &Budget::default());
            Finding::of(judged.expect("within the budget").expect("judge"), path)
        })
        .reduce(Finding::or)
        .expect("a program")
}

/// A process that is killed on drop.
struct Running(Child);

impl Running {
    /// Starts it and waits until it sleeps.
    fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut running = Self(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut asleep = 0;
        while asleep < 20 {
            std::thread::sleep(Duration::from_millis(10));
            assert!(Instant::now() < deadline, "{command:?} does not come to rest");
            let ended = running.0.try_wait().expect("look at a process");
            assert_eq!(ended, None, "{command:?}");
            let sleeps = |(_, rest): (&str, &str)| rest.starts_with(" S");
            let stat = fs::read_to_string(format!("/proc/{}/stat", running.0.id()));
            let sleeps = stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(sleeps));
            asleep = if sleeps { asleep + 1 } else { 0 };
        }
        running
    }

    fn examine(&self) -> Finding {
        Examiner::new().examine(self.0.id()).expect("examine a process")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const RECEIVES: (Reads, &str) = (Reads::Receives, "nothing that it has mapped can call splice");

fn parts(finding: &Finding) -> (Reads, &str) {
    (finding.reads, &finding.because)
}

#[test]
fn servers_and_databases_only_receive() {
    for name in ["nginx", "redis-server", "postgres", "memcached", "iperf3", "wrk", "curl"] {
        assert_eq!(parts(&judge_linked(name)), RECEIVES, "{name}");
    }
}

#[test]
fn envoy_and_node_only_receive_though_their_javascript_has_splice() {
    for name in ["envoy", "node"] {
        assert_eq!(parts(&judge_linked(name)), RECEIVES, "{name}");
    }
}

#[test]
fn running_servers_only_receive() {
    let directory = directory();
    let configuration = directory.path().join("nginx.conf");
    let text =
        format!("daemon off; pid {0}/pid; error_log stderr; events {{}}", configuration.display());
    fs::write(&configuration, text.replace("nginx.conf", "nginx")).expect("write a configuration");
    fs::create_dir(directory.path().join("nginx")).expect("make a directory");
    let nginx = Running::start(Command::new(program("nginx")).arg("-c").arg(&configuration));
    assert_eq!(parts(&nginx.examine()), RECEIVES);
    let mut redis = Command::new(program("redis-server"));
    let redis = Running::start(
        redis.args(["--port", "0", "--unixsocket", "socket"]).current_dir(&directory),
    );
    assert_eq!(parts(&redis.examine()), RECEIVES);
    let node =
        Running::start(Command::new(program("node")).args(["-e", "setInterval(() => {}, 1e6)"]));
    assert_eq!(parts(&node.examine()), RECEIVES);
}

#[test]
fn a_running_java_only_receives() {
    let directory = directory();
    let source = directory.path().join("Listen.java");
    let text = "class Listen { public static void main(String[] a) throws Exception {
        java.nio.channels.ServerSocketChannel.open().bind(null).accept(); } }";
    fs::write(&source, text).expect("write a source");
    // The launcher waits for the thread that compiles and runs.
    let java = Running::start(Command::new(program("java")).arg(&source));
    let deadline = Instant::now() + Duration::from_secs(60);
    let maps = format!("/proc/{}/maps", java.0.id());
    while !fs::read_to_string(&maps).expect("read maps").contains("libnio.so") {
        assert!(Instant::now() < deadline, "java does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(parts(&java.examine()), RECEIVES);
}

#[test]
fn haproxy_and_systemd_socket_proxyd_splice_under_any_name() {
    for name in ["haproxy", "systemd-socket-proxyd"] {
        let program_file = program(name);
        assert_eq!(judge(&program_file), rules::Evidence::Imports);
        let because = format!("imports splice ({})", program_file.display());
        assert_eq!(parts(&judge_linked(name)), (Reads::Splices, because.as_str()));
    }
    let directory = directory();
    let renamed = directory.path().join("nginx");
    fs::copy(program("haproxy"), &renamed).expect("copy");
    fs::set_permissions(&renamed, fs::Permissions::from_mode(0o755)).expect("make it a program");
    let configuration = directory.path().join("haproxy.cfg");
    let text = "defaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n
frontend f\n bind DIR/socket\n"
        .replace("DIR", &directory.path().display().to_string());
    fs::write(&configuration, text).expect("write a configuration");
    let haproxy = Running::start(Command::new(&renamed).args(["-db", "-f"]).arg(&configuration));
    // A deleted program is still examined.
    fs::remove_file(&renamed).expect("remove");
    let because = format!("imports splice ({} (deleted))", renamed.display());
    assert_eq!(parts(&haproxy.examine()), (Reads::Splices, because.as_str()));
}

#[test]
fn python_may_splice() {
    let mut python = Command::new(program("python3"));
    let python = Running::start(python.args(["-c", "import socket, time; time.sleep(1e6)"]));
    let finding = python.examine();
    assert_eq!(finding.reads, Reads::MaySplice);
    assert!(finding.because.starts_with("Python, which has os.splice (/"), "{}", finding.because);
}

#[test]
fn a_mapped_tcp_socket_is_read_without_a_system_call() {
    let mut python = Command::new(program("python3"));
    let script = "
import ctypes, socket, time
s = socket.socket()
mmap = ctypes.CDLL(None).mmap
mmap.restype = ctypes.c_void_p
address = mmap(None, ctypes.c_size_t(65536), 1, 1, s.fileno(), ctypes.c_long(0))
assert address != ctypes.c_void_p(-1).value
time.sleep(1e6)";
    let finding = Running::start(python.args(["-c", script])).examine();
    assert_eq!(finding.reads, Reads::Splices);
    assert!(finding.because.starts_with("maps socket:["), "{}", finding.because);
}

const GO_COPIES: &str = "package main
import (\"io\"; \"net\")
func main() { l, _ := net.Listen(\"tcp\", \"127.0.0.1:0\"); a, _ := l.Accept(); io.Copy(a, a) }";

#[test]
fn go_may_splice_unless_it_has_no_sockets() {
    let directory = directory();
    for machine in ["amd64", "arm64"] {
        let copies = go(&directory, GO_COPIES, machine);
        assert_eq!(judge(&copies), rules::Evidence::Go, "{machine}");
        let sleeps = go(&directory, "package main\nfunc main() { select {} }", machine);
        assert_eq!(judge(&sleeps), rules::Evidence::Nothing, "{machine}");
    }
    assert_eq!(judge(&program("go")), rules::Evidence::Go);
}

/// A program that copies a socket with std::io::copy.
fn copies(to: &str) -> String {
    format!(
        "fn main() {{
            let mut from = std::net::TcpStream::connect(\"127.0.0.1:1\").unwrap();
            let mut to = {to}.unwrap();
            std::io::copy(&mut from, &mut to).unwrap();
        }}"
    )
}

#[test]
fn rust_splices_when_it_copies_to_what_may_be_a_pipe() {
    let directory = directory();
    let to_file = copies("std::fs::File::create(\"/dev/null\")");
    let linked = rust(&directory, &to_file, &["-O"]);
    assert_eq!(judge(&linked), rules::Evidence::Imports);
    let alone = rust(&directory, &to_file, &["-O", "-Ctarget-feature=+crt-static"]);
    assert_eq!(judge(&alone), rules::Evidence::Calls);
}

#[test]
fn rust_that_copies_between_sockets_only_receives_once_it_is_optimised() {
    let directory = directory();
    let to_socket = copies("from.try_clone()");
    // std splices only to and from pipes; the optimiser removes that code here.
    for options in [&["-O"][..], &["-O", "-Ctarget-feature=+crt-static"]] {
        assert_eq!(judge(&rust(&directory, &to_socket, options)), rules::Evidence::Nothing);
    }
    assert_eq!(judge(&rust(&directory, &to_socket, &[])), rules::Evidence::Imports);
    let alone = rust(&directory, &to_socket, &["-Ctarget-feature=+crt-static"]);
    assert_eq!(judge(&alone), rules::Evidence::Calls);
}

#[test]
fn rust_that_reads_only_receives() {
    let directory = directory();
    let reads = "use std::io::Read;
        fn main() {
            let mut from = std::net::TcpStream::connect(\"127.0.0.1:1\").unwrap();
            while from.read(&mut [0; 100]).unwrap() > 0 {}
        }";
    for options in [&["-O"][..], &[], &["-O", "-Ctarget-feature=+crt-static"]] {
        assert_eq!(judge(&rust(&directory, reads, options)), rules::Evidence::Nothing);
    }
}

const INCLUDES: &str = "#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/syscall.h>
";

#[test]
fn a_c_program_is_judged_by_how_it_splices() {
    let directory = directory();
    let judged =
        |body: &str, options: &[&str]| judge(&c(&directory, &format!("{INCLUDES}{body}"), options));
    let plain = "int main() { return splice(0, 0, 1, 0, 1, 0); }";
    let weak = "#pragma weak splice
        int main() { return splice ? splice(0, 0, 1, 0, 1, 0) : 0; }";
    let number = "int main(int n, char **v) { return syscall(SYS_splice, 0, v, 1, v, n, 0); }";
    let lookup = "int main() { return dlsym(RTLD_DEFAULT, \"splice\") != 0; }";
    let neither = "int main(int n, char **v) { return syscall(SYS_tee, 0, 1, n, 0)
        + (dlsym(RTLD_DEFAULT, \"tee\") != 0) + (v[0] == \"splice\"); }";
    assert_eq!(judged(plain, &[]), rules::Evidence::Imports);
    assert_eq!(judged(plain, &["-static"]), rules::Evidence::Calls);
    assert_eq!(judged(plain, &["-static-pie"]), rules::Evidence::Calls);
    assert_eq!(judged(weak, &[]), rules::Evidence::ImportsWeakly);
    for options in [&[][..], &["-fno-plt"], &["-no-pie"], &["-static"], &["-Wl,-z,lazy"], &["-O0"]]
    {
        assert_eq!(judged(number, options), rules::Evidence::Calls, "{options:?}");
    }
    for options in [&[][..], &["-fno-plt"], &["-no-pie"], &["-Os"]] {
        assert_eq!(judged(lookup, options), rules::Evidence::LooksUp, "{options:?}");
        assert_eq!(judged(neither, options), rules::Evidence::Nothing, "{options:?}");
    }
    assert_eq!(judged("int main() { return 0; }", &["-static"]), rules::Evidence::Nothing);
}

#[test]
fn a_system_call_in_assembly_is_found_without_an_import() {
    let number = if cfg!(target_arch = "x86_64") {
        "asm(\"mov $275,%eax\\n syscall\");"
    } else {
        "asm(\"mov x8,#76\\n svc #0\");"
    };
    let directory = directory();
    let source = format!("int main() {{ {number} return 0; }}");
    assert_eq!(judge(&c(&directory, &source, &[])), rules::Evidence::Calls);
}

#[test]
fn a_library_counts_as_much_as_the_program() {
    let directory = directory();
    let library = directory.path().join("liblater.so");
    let built = c(
        &directory,
        &format!("{INCLUDES}int f() {{ return splice(0, 0, 1, 0, 1, 0); }}"),
        &["-shared", "-fPIC"],
    );
    fs::rename(built, &library).expect("rename");
    let text =
        format!("{INCLUDES}int main(int n, char **v) {{ if (n > 1) dlopen(v[1], 2); pause(); }}");
    let host = c(&directory, &text, &[]);
    assert_eq!(parts(&Running::start(&mut Command::new(&host)).examine()), RECEIVES);
    let because = format!("imports splice ({})", library.display());
    let with = Running::start(Command::new(&host).arg(&library)).examine();
    assert_eq!(parts(&with), (Reads::Splices, because.as_str()));
}

#[test]
fn a_replaced_program_is_judged_again() {
    let directory = directory();
    let mut examiner = Examiner::new();
    let mut reads = |source: &str| {
        let running = Running::start(&mut Command::new(c(&directory, source, &[])));
        examiner.examine(running.0.id()).expect("examine").reads
    };
    let pauses = format!("{INCLUDES}int main() {{ return pause(); }}");
    let splices = format!("{INCLUDES}int main() {{ pause(); return splice(0, 0, 1, 0, 1, 0); }}");
    assert_eq!(
        [reads(&pauses), reads(&splices), reads(&pauses)],
        [Reads::Receives, Reads::Splices, Reads::Receives]
    );
}

#[test]
fn libc_itself_is_no_evidence() {
    let maps = mapping::read(Path::new("/proc/self")).expect("read maps");
    let libc = maps.iter().find(|mapping| mapping.name.ends_with("libc.so.6"));
    // In statically linked tests, a program's own libc.
    let path =
        libc.map_or_else(|| PathBuf::from("/lib64/ld-linux-x86-64.so.2"), |m| m.name.clone());
    assert_eq!(judge(&path), rules::Evidence::Nothing);
}

#[test]
fn a_process_that_cannot_be_examined_is_an_error() {
    let mut examiner = Examiner::new();
    // PID 0, and one that does not exist.
    for pid in [0, u32::MAX] {
        assert!(matches!(examiner.examine(pid), Err(Error::Unreadable { .. })), "{pid}");
    }
    let script = b"#!/bin/sh\n".repeat(10);
    assert!(matches!(rules::judge(&script), Err(image::Error::NotElf)));
    assert!(matches!(rules::judge(&Vec::new()), Err(image::Error::NotElf)));
    let mut bytes = small().clone();
    bytes[18] = 40;
    assert!(matches!(rules::judge(&bytes), Err(image::Error::Machine)), "32-bit arm");
    let mut bytes = small().clone();
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    assert!(matches!(rules::judge(&bytes), Err(image::Error::NoSections)), "packed");
}

#[test]
fn a_dotnet_assembly_is_judged_by_its_names() {
    let mut assembly = b"MZ".repeat(100);
    assert_eq!(rules::judge(&assembly).expect("judge"), rules::Evidence::Nothing);
    assembly.extend(b"\0tee\0splice\0sync\0");
    assert_eq!(rules::judge(&assembly).expect("judge"), rules::Evidence::Names);
}

/// A small program that exercises every rule.
fn small() -> &'static Vec<u8> {
    static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
    SMALL.get_or_init(|| {
        let source = format!(
            "{INCLUDES}int main(int n, char **v) {{
                return syscall(SYS_tee, 0, 1, n, 0) + (dlsym(RTLD_DEFAULT, \"tee\") != v[0]);
            }}"
        );
        fs::read(c(&directory(), &source, &[])).expect("read a program")
    })
}

proptest::proptest! {
    #[test]
    fn no_mutation_of_a_file_makes_the_judge_panic(
        mutations in proptest::collection::vec((0_usize..1 << 15, proptest::num::u8::ANY), 1..40),
        words in proptest::collection::vec((0_usize..1 << 9, proptest::num::u64::ANY), 0..8),
        keep in 0_usize..1 << 15,
    ) {
        let mut bytes = small().clone();
        let size = bytes.len();
        for (at, byte) in mutations {
            // Mostly mutate the headers.
            let at = if at % 2 == 0 { at % 1024 } else { at % size };
            bytes[at] = byte;
        }
        let sections = u64::from_le_bytes(small()[40..48].try_into().expect("a header")) as usize;
        for (at, word) in words {
            let at = if at % 2 == 0 { at * 8 % 1024 } else { sections + at * 8 % (size - sections - 8) };
            bytes[at..at + 8].copy_from_slice(&(word >> (word % 64)).to_le_bytes());
        }
        let _ = rules::judge(&bytes);
        bytes.truncate(keep);
        let _ = rules::judge(&bytes);
    }
}
