//! Perf events that programs attach to: tracepoints, kprobes and uprobes.

use std::ffi::CString;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytemuck::Zeroable;

use crate::error::{Errno, Error, Result};
use crate::uapi;

/// `PERF_TYPE_TRACEPOINT`
const TRACEPOINT: u32 = 2;
/// Where tracefs is mounted, today and before Linux 4.1.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The event of a tracepoint, by the id that tracefs has for it.
pub(crate) fn tracepoint(group: &str, name: &str) -> Result<OwnedFd> {
    if [group, name].iter().any(|part| part.is_empty() || part.contains(['/', '.'])) {
        return Err(Error::invalid(
            format!("tracepoint `{group}:{name}`"),
            "not a name of a folder of events in tracefs",
        ));
    }
    let mut answer = None;
    for mounted in TRACEFS {
        let path = Path::new(mounted).join("events").join(group).join(name).join("id");
        match number(&path, "no such tracepoint, or tracefs is not mounted there: mount -t tracefs")
        {
            Ok(id) => {
                let mut attr = uapi::PerfEventAttr::zeroed();
                (attr.kind, attr.config) = (TRACEPOINT, id);
                return open(&mut attr, &format!("tracepoint `{group}:{name}`"));
            }
            // The first is where it should be.
            Err(error) => drop(answer.get_or_insert(error)),
        }
    }
    Err(answer.unwrap_or_else(|| Error::invalid("tracefs", "not mounted")))
}

/// The event of a kernel function's entry or return.
pub(crate) fn kernel_function(name: &str, at_return: bool) -> Result<OwnedFd> {
    const DEVICE: &str = "/sys/bus/event_source/devices/kprobe";
    let object = format!("kernel function `{name}`");
    let name = CString::new(name)
        .map_err(|_| Error::invalid(object.clone(), "a name cannot contain a NUL byte"))?;
    let mut attr = uapi::PerfEventAttr::zeroed();
    attr.kind = device(DEVICE, "this kernel has no kprobes: use one with CONFIG_KPROBE_EVENTS=y")?;
    attr.config = u64::from(at_return);
    attr.config1 = name.as_ptr() as u64;
    open(&mut attr, &object)
}

/// The event of an instruction in a file, in all processes that map it.
pub(crate) fn user_code(file: &Path, offset: u64) -> Result<OwnedFd> {
    const DEVICE: &str = "/sys/bus/event_source/devices/uprobe";
    let object = format!("offset {offset:#x} of {}", file.display());
    let path = CString::new(file.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(object.clone(), "a path cannot contain a NUL byte"))?;
    let mut attr = uapi::PerfEventAttr::zeroed();
    attr.kind = device(DEVICE, "this kernel has no uprobes: use one with CONFIG_UPROBE_EVENTS=y")?;
    (attr.config1, attr.config2) = (path.as_ptr() as u64, offset);
    open(&mut attr, &object)
}

/// The number of a kind of event.
fn device(folder: &str, remedy: &str) -> Result<u32> {
    let path = Path::new(folder).join("type");
    let number = number(&path, remedy)?;
    u32::try_from(number)
        .map_err(|_| Error::KernelFile { path, reason: format!("{number} is not a type") })
}

fn number(path: &Path, remedy: &str) -> Result<u64> {
    let failed = |reason: String| Error::KernelFile { path: PathBuf::from(path), reason };
    let text = fs::read_to_string(path).map_err(|error| failed(format!("{error}; {remedy}")))?;
    text.trim().parse().map_err(|_| failed(format!("`{}` is not a number", text.trim())))
}

/// `perf_event_open(attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)`: for all processes; the processor does
/// not matter to programs, which run wherever the event is hit.
fn open(attr: &mut uapi::PerfEventAttr, object: &str) -> Result<OwnedFd> {
    const CLOEXEC: libc::c_ulong = 8;
    attr.size = size_of::<uapi::PerfEventAttr>() as u32;
    // SAFETY: the attribute is valid for its size, and the strings that it points to are alive in
    // the callers.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, std::ptr::from_mut(attr), -1, 0, -1, CLOEXEC)
    };
    if fd < 0 {
        return Err(Error::command("perf_event_open", object, Errno::last()));
    }
    // SAFETY: the kernel has just created this descriptor, and nothing else refers to it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
