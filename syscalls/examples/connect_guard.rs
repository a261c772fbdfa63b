//! A cgroup program: processes in a cgroup cannot connect to some ports. The ports are known when
//! the program is assembled, so each costs one comparison, and none costs nothing.
//!
//! `cargo run --example connect_guard`, as root.

use std::error::Error;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bpf_asm::{BuildErrors, Builder, MapKind, MapRef, Modify, Program, ProgramType, bpf_sock_addr};
use syscalls::load::{self, Maps, Target};

/// How many connections were refused.
const REFUSED: MapRef<u32, u64> = MapRef::new("refused", MapKind::Array, 1);

/// Refuses connections to `ports`.
fn program(ports: &[u16]) -> Result<Program, BuildErrors> {
    let b = Builder::new("connect_guard");
    let address = b.context::<bpf_sock_addr>();
    let (port, refuse) = (b.load(address.at(bpf_sock_addr::user_port)), b.label());
    for refused in ports {
        b.jump_if(port.eq(refused.to_be()), &refuse);
    }
    b.ret(1);
    if !ports.is_empty() {
        b.place(&refuse);
        let refused = b.map_value(&REFUSED);
        b.atomic(Modify::Add, refused.at_all(), &b.value(1));
        b.ret(0);
    }
    b.finish(ProgramType::Connect4)
}

fn in_user_space() -> Result<(), Box<dyn Error>> {
    let nothing_refused = program(&[])?.for_rbpf(|_| 0);
    let machine = rbpf::EbpfVmRaw::new(Some(&nothing_refused))?;
    let mut context = vec![0; size_of::<bpf_sock_addr>()];
    context[24..26].copy_from_slice(&25u16.to_be_bytes());
    assert_eq!(machine.execute_program(&mut context)?, 1);
    Ok(())
}

/// A cgroup of its own, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Result<Cgroup, Box<dyn Error>> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let root = mount.ok_or("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")?[1]
            .to_owned();
        let path = Path::new(&root).join(format!("connect-guard-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Cgroup(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process that was inside may still be on its way out.
        while fs::remove_dir(&self.0).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [cgroup, address] = &arguments[..] {
        // The process inside.
        fs::write(Path::new(cgroup).join("cgroup.procs"), "0")?;
        match TcpStream::connect(address) {
            Ok(_) => println!("{address}: connected"),
            Err(error) => println!("{address}: {error}"),
        }
        return Ok(());
    }

    in_user_space()?;
    let (open, closed) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let program = program(&[closed.local_addr()?.port()])?;
    print!("{program}");
    let maps = Maps::create([&program])?;
    let loaded = load::program(&program, &maps)?;
    let cgroup = Cgroup::new()?;
    let folder = File::open(&cgroup.0)?;
    let attached = load::attach(&program, &loaded, Target::Cgroup(folder.as_fd()))?;
    for listener in [&open, &closed] {
        let address = listener.local_addr()?.to_string();
        let inside = Command::new(std::env::current_exe()?).arg(&cgroup.0).arg(address).status()?;
        if !inside.success() {
            return Err("the process inside the cgroup failed".into());
        }
    }
    drop(attached);
    let refused = maps.typed(&REFUSED)?.lookup(&0)?.unwrap_or(0);
    println!("refused: {refused}");
    Ok(())
}
