//! The run: every test on every kernel.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::binaries::{Binary, one_test_passed, workspace};
use crate::cache::{Cache, Kernel};
use crate::config::Config;
use crate::console::{Console, complaints};
use crate::initramfs::Initramfs;
use crate::manifest::Manifest;
use crate::protocol::{Ending, Event, JOB, Job, Task};
use crate::qemu::{Accelerator, Hardware, Machine, QEMU, Silence};
use crate::report::{KernelReport, Report, TestResult, Verdict};
use crate::tools;

/// How long after a test's own time the guest may take to report it.
const GRACE: Duration = Duration::from_secs(60);

/// How long the trial of KVM may take.
const TRIAL: Duration = Duration::from_secs(30);

/// How much of a console is shown when a guest does not come up, in bytes.
const SHOWN_CONSOLE: u64 = 4096;

/// Memory that QEMU itself takes, in MiB.
const QEMU_MIB: u64 = 256;

/// In the environment of every test: the series of the kernel that it runs on, as the configuration has it.
const SERIES: &str = "KERNEL_SERIES";

/// What is asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Series to leave out.
    pub excluded: Vec<String>,
    /// Run only tests whose names contain this.
    pub filter: Option<String>,
    /// Added to the environment of every test.
    pub environment: BTreeMap<String, String>,
    /// Guests at the same time, at most, instead of what the configuration has.
    pub at_once: Option<usize>,
}

/// What runs, and what it needs.
#[derive(Debug, Default)]
struct Load {
    tasks: Vec<Task>,
    binaries: Vec<Packed>,
    /// Files that tests may change.
    files: Vec<PathBuf>,
}

/// A file for the guest's root.
#[derive(Debug, Clone)]
struct Packed {
    /// Where it is on this machine.
    from: PathBuf,
    /// Where it is in the guest.
    at: PathBuf,
}

impl Packed {
    /// A file that is at the same place in both.
    fn same(path: &Path) -> Self {
        Self { from: path.to_owned(), at: path.to_owned() }
    }
}

/// Runs the matrix. What goes wrong with a kernel or a test is in the report.
///
/// # Errors
/// When nothing can be run at all.
pub fn run(config: &Config, cache: &Cache, selection: &Selection) -> Result<Report> {
    for series in &selection.excluded {
        ensure!(
            config.kernels.iter().any(|kernel| kernel.series == *series),
            "cannot exclude {series}: there is no such kernel in the configuration"
        );
    }
    tools::provide_for_running()?;
    let manifest = cache.manifest()?;
    let mut load = load(config, selection.filter.as_deref())?;
    let scratch = cache.scratch()?;
    // Guests that start later get the same files, whatever is built meanwhile.
    let own = Packed { from: "/proc/self/exe".into(), at: "/init".into() };
    load.binaries.push(own);
    for (number, binary) in load.binaries.iter_mut().enumerate() {
        let copy = scratch.path().join(format!("binary-{number}"));
        fs::copy(&binary.from, &copy).with_context(|| format!("copy {}", binary.from.display()))?;
        binary.from = copy;
    }
    let wanted = config.kernels.iter().filter(|kernel| !selection.excluded.contains(&kernel.series));
    let bootable: Vec<Kernel> = wanted.filter_map(|kernel| cache.kernel(&manifest, &kernel.series).ok()).collect();
    let accelerator = choose_accelerator(config, scratch.path(), bootable.first(), &load.binaries)?;
    let mut environment = match accelerator {
        Accelerator::Kvm => BTreeMap::new(),
        Accelerator::Emulation => config.emulation.environment.clone(),
    };
    environment.extend(selection.environment.clone());
    let attempts = match accelerator {
        Accelerator::Kvm => 1,
        Accelerator::Emulation => config.emulation.attempts.unwrap_or(1),
    };
    for task in &mut load.tasks {
        task.environment.clone_from(&environment);
        task.attempts = attempts;
    }
    let guest = &config.guest;
    let hardware = Hardware { accelerator, memory_mib: guest.memory_mib, processors: guest.processors };
    let at_once =
        guests_at_once(selection.at_once.unwrap_or(guest.at_once), guest.memory_mib + QEMU_MIB, &free_memory()?);
    eprintln!("{} tests on {} kernels by {accelerator}, {at_once} at a time", load.tasks.len(), bootable.len());

    let lab = Lab { config, hardware, scratch: scratch.path(), load: &load };
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..config.kernels.len()).collect());
    let done: Mutex<Vec<Option<KernelReport>>> = Mutex::new(vec![None; config.kernels.len()]);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(index) = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                        return;
                    };
                    let report = lab.kernel(cache, &manifest, &config.kernels[index].series, selection);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(report);
                }
            });
        }
    });
    Ok(Report {
        accelerator: accelerator.to_string(),
        tests: load.tasks.iter().map(|task| task.name.clone()).collect(),
        kernels: done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect(),
    })
}

/// Every test as a task, and the files that they need.
fn load(config: &Config, filter: Option<&str>) -> Result<Load> {
    let mut load = Load::default();
    let mut binaries = Vec::new();
    for tests in &config.tests {
        eprintln!("building {}", tests.name);
        let binary = Binary::build(tests)?;
        // Each beginning is that of a test: a name that is not one any more would run nothing, without a word.
        for beginning in &tests.only {
            ensure!(
                binary.tests.iter().any(|test| test.starts_with(beginning)),
                "kernels.toml: no test of {} begins with {beginning:?}",
                tests.name
            );
        }
        let wanted = binary.tests.iter().filter(|test| filter.is_some() || tests.runs(test));
        load.tasks.extend(wanted.map(|test| Task {
            name: format!("{}::{test}", tests.name),
            program: binary.path.clone(),
            arguments: [test, "--exact", "--test-threads=1"].map(str::to_owned).to_vec(),
            environment: BTreeMap::new(),
            timeout_seconds: tests.seconds,
            attempts: 1,
        }));
        binaries.push(binary.path);
        binaries.extend(binary.companions);
        for file in &tests.files {
            load.files.push(workspace()?.join(file));
        }
    }
    binaries.sort();
    binaries.dedup();
    load.binaries = binaries.iter().map(|path| Packed::same(path)).collect();
    if let Some(filter) = filter {
        load.tasks.retain(|task| task.name.contains(filter));
        ensure!(!load.tasks.is_empty(), "no test has {filter:?} in its name");
    }
    Ok(load)
}

/// As many guests as the configuration wants and memory allows, but one at least. `memory` is `/proc/meminfo`.
fn guests_at_once(wanted: usize, each_mib: u64, memory: &str) -> usize {
    let available_kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or_default();
    let fitting = available_kib / 1024 / each_mib.max(1);
    wanted.min(fitting.try_into().unwrap_or(usize::MAX)).max(1)
}

fn free_memory() -> Result<String> {
    fs::read_to_string("/proc/meminfo").context("read how much memory is free")
}

/// `/dev/kvm` may be there and of no use: only a guest that comes up shows that it works.
fn choose_accelerator(
    config: &Config,
    scratch: &Path,
    kernel: Option<&Kernel>,
    binaries: &[Packed],
) -> Result<Accelerator> {
    let Some(kernel) = kernel.filter(|_| File::options().read(true).write(true).open("/dev/kvm").is_ok()) else {
        return Ok(Accelerator::Emulation);
    };
    let initramfs = scratch.join("trial.cpio");
    write_initramfs(&initramfs, binaries, &Job::default())?;
    let guest = &config.guest;
    let hardware =
        Hardware { accelerator: Accelerator::Kvm, memory_mib: guest.memory_mib, processors: guest.processors };
    let (console, complaints) = (scratch.join("trial.console"), scratch.join("trial.qemu"));
    let mut machine = Machine::boot(hardware, &kernel.image, &initramfs, &console, &complaints)
        .with_context(|| format!("start {QEMU}"))?;
    Ok(match machine.next_event(TRIAL) {
        Ok(Event::Ready { .. }) => Accelerator::Kvm,
        _ => Accelerator::Emulation,
    })
}

/// The guest's root: files, among them this program as the first process, and the job.
fn write_initramfs(path: &Path, files: &[Packed], job: &Job) -> Result<()> {
    let write = || -> Result<()> {
        let mut archive = Initramfs::new(BufWriter::new(File::create(path)?));
        for Packed { from, at } in files {
            archive.copy(from, at).with_context(|| format!("pack {}", from.display()))?;
        }
        archive.add(Path::new(JOB), &serde_json::to_vec(job)?)?;
        archive.finish()?.flush()?;
        Ok(())
    };
    write().with_context(|| format!("write the guest's root file system to {}", path.display()))
}

/// What every guest of a run has in common.
struct Lab<'a> {
    config: &'a Config,
    hardware: Hardware,
    scratch: &'a Path,
    load: &'a Load,
}

impl Lab<'_> {
    fn kernel(&self, cache: &Cache, manifest: &Manifest, series: &str, selection: &Selection) -> KernelReport {
        let mut report = KernelReport { series: series.to_owned(), ..KernelReport::default() };
        if selection.excluded.iter().any(|excluded| excluded == series) {
            report.excluded = true;
            return report;
        }
        let outcome = cache.kernel(manifest, series).and_then(|kernel| {
            report.release = Some(kernel.release.clone());
            // A kernel that dies takes a guest with it, not the tests that come after.
            while report.results.len() < self.load.tasks.len() {
                self.guest(&kernel, &mut report)?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            eprintln!("{series}: {error:#}");
            report.trouble = Some(format!("{error:#}"));
        }
        report
    }

    /// Boots a guest for the tests that have no result, and returns when each has one or the guest has died of one.
    fn guest(&self, kernel: &Kernel, report: &mut KernelReport) -> Result<()> {
        let first = report.results.len();
        let mut tasks = self.load.tasks[first..].to_vec();
        for task in &mut tasks {
            task.environment.insert(SERIES.to_owned(), report.series.clone());
        }
        let path = |kind: &str| self.scratch.join(format!("{}-{first}.{kind}", report.series));
        let (initramfs, console, qemu) = (path("cpio"), path("console"), path("qemu"));
        let modules = kernel.module_files(&self.config.guest.modules, &self.config.guest.modules_if_there)?;
        let written = &self.load.files;
        let before = written.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>().context("read test data")?;
        let files: Vec<Packed> = written.iter().chain(&modules).map(|path| Packed::same(path)).collect();
        let files = [self.load.binaries.clone(), files].concat();
        write_initramfs(&initramfs, &files, &Job { modules, tasks: tasks.clone(), files: written.clone() })?;
        // Made here, so that it can be read from the start.
        File::create(&console).context("make a file for the console")?;
        let mut log = Console::open(&console).context("open the guest's console")?;
        let mut machine = Machine::boot(self.hardware, &kernel.image, &initramfs, &console, &qemu)
            .with_context(|| format!("start {QEMU}"))?;

        let boot = Duration::from_secs(self.config.guest.boot_seconds);
        let no_test_has_run = match machine.next_event(boot) {
            Ok(Event::Ready { release }) if release == kernel.release => None,
            Ok(Event::Ready { release }) => Some(format!("the guest runs {release} instead of {}", kernel.release)),
            Ok(Event::Broken { reason }) => Some(format!("the guest is not ready: {reason}")),
            Ok(event) => Some(format!("the guest began with {event:?}")),
            Err(silence) => Some(format!("the guest did not come up: {silence}")),
        };
        if let Some(why) = no_test_has_run {
            let said = fs::read_to_string(&qemu).unwrap_or_default();
            let shown = log.end(SHOWN_CONSOLE).context("read the guest's console")?;
            anyhow::bail!("{why}\n{said}the end of its console:\n{shown}");
        }
        // It is in the guest's memory now, and large: a run that is interrupted leaves nothing of the kind.
        fs::remove_file(&initramfs).context("remove the guest's root file system")?;
        report.complaints.extend(complaints(&log.new_lines().context("read the guest's console")?));

        for task in &tasks {
            let mut result = result_of(&mut machine, task)?;
            let died = result.verdict == Verdict::Crashed;
            if died {
                machine.wait_until_off(GRACE);
            }
            result.complaints = complaints(&log.new_lines().context("read the guest's console")?);
            if !result.complaints.is_empty() && result.verdict == Verdict::Passed {
                result.verdict = Verdict::Failed;
            }
            report.results.push(result);
            self.tell_progress(report);
            if died {
                return Ok(());
            }
        }
        while let Ok(Event::Written { file, contents }) = machine.next_event(GRACE) {
            let known = written.iter().zip(&before).find(|(written, _)| **written == file);
            let (_, before) = known.with_context(|| format!("the guest wrote {}", file.display()))?;
            replace(&file, before, &contents)?;
        }
        machine.wait_until_off(GRACE);
        report.complaints.extend(complaints(&log.new_lines().context("read the guest's console")?));
        Ok(())
    }

    fn tell_progress(&self, report: &KernelReport) {
        if let Some(last) = report.results.last() {
            let (series, done, all) = (&report.series, report.results.len(), self.load.tasks.len());
            eprintln!("{series:>5}  {done:>3}/{all}  {:<9}  {:>6.1} s  {}", last.verdict, last.seconds, last.test);
            if last.verdict != Verdict::Passed || last.attempts > 1 {
                // In the report too, but that may be long in coming.
                eprintln!("{}", last.details());
            }
        }
    }
}

/// Keeps what tests in a guest wrote, as if they had run here.
fn replace(file: &Path, before: &str, contents: &str) -> Result<()> {
    let now = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    ensure!(
        now == before,
        "{} was changed while a guest changed it too: run one guest at a time (--at-once 1)",
        file.display()
    );
    fs::write(file, contents).with_context(|| format!("write {}", file.display()))
}

/// Waits for the outcome of the task that is next.
fn result_of(machine: &mut Machine, task: &Task) -> Result<TestResult> {
    let limit = Duration::from_secs(task.timeout_seconds) * task.attempts + GRACE;
    let result = |verdict, seconds, attempts, output| TestResult {
        test: task.name.clone(),
        verdict,
        seconds,
        attempts,
        output,
        complaints: vec![],
    };
    loop {
        return Ok(match machine.next_event(limit) {
            Ok(Event::Started { .. }) => continue,
            Ok(Event::Ended { ending, seconds, attempts, output, .. }) => {
                let (verdict, why) = match ending {
                    Ending::Exited(0) if one_test_passed(&output) => (Verdict::Passed, String::new()),
                    Ending::Exited(0) => (Verdict::Failed, "it exited with 0, yet no test ran".to_owned()),
                    Ending::Exited(code) => (Verdict::Failed, format!("it exited with {code}")),
                    Ending::Signalled(signal) => (Verdict::Failed, format!("signal {signal} ended it")),
                    Ending::TimedOut => (Verdict::TimedOut, format!("it had {} s", task.timeout_seconds)),
                    Ending::NotStarted => (Verdict::Failed, "it could not be started".to_owned()),
                };
                result(verdict, seconds, attempts, format!("{output}{why}"))
            }
            Ok(Event::Broken { reason }) => anyhow::bail!("the guest could not go on: {reason}"),
            Ok(event @ (Event::Ready { .. } | Event::Written { .. } | Event::Done)) => {
                anyhow::bail!("the guest said {event:?} too early")
            }
            Err(silence @ (Silence::TimedOut(_) | Silence::Off(_))) => {
                result(Verdict::Crashed, 0.0, 1, format!("the guest died: {silence}"))
            }
            Err(silence @ Silence::Noise(_)) => anyhow::bail!("the guest is not understood: {silence}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_guests_run_as_fit_into_memory_and_one_in_any_case() {
        let memory = |gib: u64| format!("MemTotal: 99 kB\nMemAvailable:   {} kB\n", gib << 20);
        for (gib, guests) in [(64, 2), (5, 2), (4, 1), (1, 1)] {
            assert_eq!(guests_at_once(2, 2304, &memory(gib)), guests, "{gib} GiB");
        }
        assert_eq!(guests_at_once(2, 2304, ""), 1);
        assert_eq!(guests_at_once(0, 0, &memory(64)), 1);
    }

    #[test]
    fn what_a_guest_wrote_replaces_a_file_that_nobody_else_changed_meanwhile() {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        fs::write(file.path(), "one").expect("write");
        replace(file.path(), "one", "two").expect("replace");
        assert_eq!(fs::read_to_string(file.path()).expect("read"), "two");
        let error = replace(file.path(), "one", "three").expect_err("changed meanwhile").to_string();
        assert!(error.contains("one guest at a time"), "{error}");
        assert_eq!(fs::read_to_string(file.path()).expect("read"), "two");
    }
}
