//! A program that has been loaded, from Rust or from C.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpf_asm::Program;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use syscalls::load::{self, Maps};
use syscalls::{AttachType, Link, Map, Prog};

pub struct Subject {
    pub prog: Prog,
    pub maps: BTreeMap<String, Map>,
    /// Slots.
    pub instructions: usize,
}

/// The program of this name from Rust, and from C.
pub fn both(name: &str) -> [Subject; 2] {
    let program = match name {
        "protocols" => crate::protocols::program(),
        "policy" => crate::policy::program(),
        "bucket" => crate::bucket::program(),
        other => panic!("there is no program `{other}`"),
    };
    [of_rust(&program.unwrap_or_else(|errors| panic!("{errors}"))), of_c(name)]
}

fn of_rust(program: &Program) -> Subject {
    let maps = Maps::create([program]).expect("create the maps, as root");
    let prog = load::program(program, &maps).unwrap_or_else(|error| panic!("{error}\n{program}"));
    let cloned = |map: &Map| (map.name().to_owned(), map.try_clone().expect("another descriptor"));
    let maps = maps.iter().map(cloned).collect();
    Subject { prog, maps, instructions: program.slots() }
}

fn run(command: &mut Command, missing: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {missing}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles a program, and lets libbpf load it, in a mount namespace of a thread.
fn of_c(name: &str) -> Subject {
    let dir = tempfile::tempdir().expect("make a folder");
    let object = compiled(name, dir.path());
    std::thread::scope(|scope| {
        scope.spawn(|| loaded(&object, dir.path())).join().expect("the thread that loads")
    })
}

fn compiled(name: &str, dir: &Path) -> PathBuf {
    let source = crate::folder().join(name).with_extension("c");
    let object = dir.join("program.o");
    let machine_headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let mut clang = Command::new("clang-22");
    clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", &machine_headers]);
    clang.arg("-c").arg(source).arg("-o").arg(&object);
    run(&mut clang, "apt-get install clang-22 linux-libc-dev");
    object
}

fn loaded(object: &Path, dir: &Path) -> Subject {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace, as root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("keep mounts private");
    let pins = dir.join("bpffs");
    fs::create_dir(&pins).expect("make a folder");
    mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), None::<&str>).expect("mount a bpffs");
    let (progs, maps) = (pins.join("progs"), pins.join("maps"));
    let mut bpftool = Command::new("bpftool");
    // libbpf takes dots out of the paths of pins.
    bpftool.current_dir(&pins).args(["prog", "loadall"]).arg(object);
    bpftool.args(["progs", "pinmaps", "maps"]);
    run(&mut bpftool, "apt-get install bpftool");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("list the pins");
        entries.map(|entry| entry.expect("a pin").path()).collect()
    };
    let prog = Prog::open_pinned(&files(&progs)[0]).expect("the program");
    let open = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, Map::open_pinned(path).expect("a map"))
    };
    let maps = files(&maps).iter().map(open).collect();
    let instructions = instructions(object);
    Subject { prog, maps, instructions }
}

/// The slots of the only section with code.
fn instructions(object: &Path) -> usize {
    use object::read::{Object, ObjectSection};
    let bytes = fs::read(object).expect("the object");
    let file = object::File::parse(&*bytes).expect("an object");
    let code = file.sections().filter(|section| section.kind() == object::SectionKind::Text);
    code.map(|section| section.size() as usize / 8).sum()
}

/// Whether a process in a cgroup with this program may connect to each of these addresses. UDP, so
/// that no listener is needed.
pub fn connected(prog: &Prog, addresses: &[&str]) -> Vec<bool> {
    let cgroup = Cgroup::new();
    let folder = File::open(&cgroup.0).expect("open the cgroup");
    const CGROUP_INET4_CONNECT: AttachType = AttachType::from_raw(10);
    let _link = Link::to_cgroup(prog, folder.as_fd(), CGROUP_INET4_CONNECT).expect("attach it");
    let mut script = format!("echo $$ > '{}/cgroup.procs'\n", cgroup.0.display());
    for address in addresses {
        script += &format!("(exec 3<>/dev/udp/{address}/9) 2>&- && echo yes || echo no\n");
    }
    let output = Command::new("bash").args(["-c", &script]).output().expect("run bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line == "yes").collect()
}

/// A cgroup of its own, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("the mounts");
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let root = mount.expect("cgroup v2: mount -t cgroup2 none /sys/fs/cgroup")[1].to_owned();
        let path = Path::new(&root).join(format!("comparison-{}", std::process::id()));
        fs::create_dir(&path).expect("make a cgroup, as root");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process that was inside may still be on its way out.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("not removed: {}", self.0.display());
    }
}
