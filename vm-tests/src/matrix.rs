//! The run: every test on every kernel.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::architecture::Architecture;
use crate::binaries::{self, one_test_passed, workspace};
use crate::cache::{Cache, Kernel};
use crate::config::Config;
use crate::console::complaints;
use crate::foreign;
use crate::machine::{Accelerator, Hardware, Machine, Silence};
use crate::manifest::Manifest;
use crate::protocol::{Ending, Event, Job, Overmount, Task, mark};
use crate::report::{KernelReport, Report, TestResult, Verdict};
use crate::tools;
use crate::vng;

/// How long after a test's own time the guest may take to report it.
const GRACE: Duration = Duration::from_secs(60);

/// How long the console of a guest that is off may take to end.
const SOON: Duration = Duration::from_secs(5);

/// How long the trial of KVM may take.
const TRIAL: Duration = Duration::from_secs(30);

/// How much of a console is shown when a guest does not come up, in bytes.
const SHOWN_CONSOLE: usize = 4096;

/// Memory that QEMU itself and virtiofsd take, in MiB.
const HOST_MIB: u64 = 256;

/// In the environment of every test: the kernel that it runs on, as tables of kernels call it.
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
    /// Test binaries, and others that they expect where they are.
    binaries: Vec<PathBuf>,
    /// Files that tests may change.
    files: Vec<PathBuf>,
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
    let architecture = config.guest.architecture;
    tools::check_for_running(architecture)?;
    let manifest = cache.manifest()?;
    let mut load = load(config, selection.filter.as_deref())?;
    let scratch = cache.scratch()?;
    // Guests that start later get the same files, whatever is built meanwhile.
    let own = scratch.path().join("vm-tests");
    let built = match architecture.is_native() {
        true => PathBuf::from("/proc/self/exe"),
        false => binaries::own(architecture)?,
    };
    fs::copy(built, &own).context("copy this program")?;
    let programs = copy_programs(&load.binaries, &scratch.path().join("programs"))?;
    let wanted =
        config.kernels.iter().filter(|kernel| !selection.excluded.contains(&kernel.series));
    let bootable: Vec<Kernel> =
        wanted.filter_map(|kernel| cache.kernel(&manifest, &kernel.series).ok()).collect();
    let accelerator = choose_accelerator(config, scratch.path(), bootable.first(), &own)?;
    let mut environment = match accelerator {
        Accelerator::Kvm => BTreeMap::new(),
        Accelerator::Emulation => config.emulation.environment.clone(),
    };
    environment.extend(selection.environment.clone());
    for task in &mut load.tasks {
        task.environment.clone_from(&environment);
    }
    let guest = &config.guest;
    let hardware =
        Hardware { accelerator, memory_mib: guest.memory_mib, processors: guest.processors };
    let at_once = guests_at_once(
        selection.at_once.unwrap_or(guest.at_once),
        guest.memory_mib + HOST_MIB,
        &free_memory()?,
    );
    eprintln!(
        "{} tests on {} kernels by {accelerator}, {at_once} at a time",
        load.tasks.len(),
        bootable.len()
    );

    let lab = Lab {
        config,
        hardware,
        scratch: scratch.path(),
        own: &own,
        programs: &programs,
        load: &load,
    };
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..config.kernels.len()).collect());
    let done: Mutex<Vec<Option<KernelReport>>> = Mutex::new(vec![None; config.kernels.len()]);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(index) =
                        waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
                    else {
                        return;
                    };
                    let report =
                        lab.kernel(cache, &manifest, &config.kernels[index].series, selection);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(report);
                }
            });
        }
    });
    Ok(Report {
        accelerator: accelerator.to_string(),
        tests: load.tasks.iter().map(|task| task.name.clone()).collect(),
        kernels: done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .flatten()
            .collect(),
    })
}

/// Every test as a task, and the files that they need.
fn load(config: &Config, filter: Option<&str>) -> Result<Load> {
    let mut load = Load::default();
    let mut binaries = Vec::new();
    let names: Vec<&str> = config.tests.iter().map(|tests| tests.name.as_str()).collect();
    eprintln!("building {}", names.join(", "));
    let built = binaries::build(&config.tests, config.guest.architecture)?;
    for (tests, binary) in config.tests.iter().zip(built) {
        // Each beginning is that of a test: a name that is not one any more would choose nothing,
        // without a word.
        for beginning in tests.only.iter().chain(&tests.except) {
            ensure!(
                binary.tests.iter().any(|test| test.starts_with(beginning)),
                "the configuration: no test of {} begins with {beginning:?}",
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
        }));
        binaries.push(binary.path);
        binaries.extend(binary.companions);
        for file in &tests.files {
            load.files.push(workspace()?.join(file));
        }
    }
    binaries.sort();
    binaries.dedup();
    load.binaries = binaries;
    if let Some(filter) = filter {
        load.tasks.retain(|task| task.name.contains(filter));
        ensure!(!load.tasks.is_empty(), "no test has {filter:?} in its name");
    }
    Ok(load)
}

/// As many guests as the configuration wants and memory allows, but one at least. `memory` is
/// `/proc/meminfo`.
fn guests_at_once(wanted: usize, each_mib: u64, memory: &str) -> usize {
    let available_kib = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .unwrap_or_default();
    let fitting = available_kib / 1024 / each_mib.max(1);
    wanted.min(fitting.try_into().unwrap_or(usize::MAX)).max(1)
}

fn free_memory() -> Result<String> {
    fs::read_to_string("/proc/meminfo").context("read how much memory is free")
}

/// Copies `binaries` into the new folder `to`, which guests see in the place of the folder that all
/// of them are below.
fn copy_programs(binaries: &[PathBuf], to: &Path) -> Result<Overmount> {
    let folders = binaries.iter().filter_map(|binary| binary.parent());
    let at = folders
        .min_by_key(|folder| folder.components().count())
        .context("there is no test binary")?;
    for binary in binaries {
        let inside = binary.strip_prefix(at);
        let inside = inside
            .with_context(|| format!("{} is not below {}", binary.display(), at.display()))?;
        let copy = to.join(inside);
        let folder = copy.parent().unwrap_or(to);
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::copy(binary, &copy).with_context(|| format!("copy {}", binary.display()))?;
    }
    Ok(Overmount { folder: to.to_owned(), at: at.to_owned() })
}

/// `/dev/kvm` may be there and of no use: only a guest that comes up shows that it works.
fn choose_accelerator(
    config: &Config,
    scratch: &Path,
    kernel: Option<&Kernel>,
    own: &Path,
) -> Result<Accelerator> {
    let native = config.guest.architecture.is_native();
    let Some(kernel) = kernel
        .filter(|_| native && File::options().read(true).write(true).open("/dev/kvm").is_ok())
    else {
        return Ok(Accelerator::Emulation);
    };
    let guest = &config.guest;
    let hardware = Hardware {
        accelerator: Accelerator::Kvm,
        memory_mib: guest.memory_mib,
        processors: guest.processors,
    };
    let architecture = config.guest.architecture;
    let folder = scratch.join("trial");
    let mut machine = boot(architecture, hardware, kernel, own, &folder, &Job::default())?;
    Ok(match machine.next_event(TRIAL) {
        Ok(Event::Ready { .. }) => Accelerator::Kvm,
        _ => Accelerator::Emulation,
    })
}

/// Boots a guest that does `job`, with the new folder `folder` for its files.
fn boot(
    architecture: Architecture,
    hardware: Hardware,
    kernel: &Kernel,
    own: &Path,
    folder: &Path,
    job: &Job,
) -> Result<Machine> {
    fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
    let file = folder.join("job.json");
    fs::write(&file, serde_json::to_vec(job)?)
        .with_context(|| format!("write {}", file.display()))?;
    if architecture.is_native() {
        vng::boot(hardware, &kernel.image, &[own, Path::new("guest"), &file], folder)
    } else {
        foreign::boot(hardware, &kernel.image, own, &file, folder)
    }
    .context("start a guest")
}

/// What every guest of a run has in common.
struct Lab<'a> {
    config: &'a Config,
    hardware: Hardware,
    scratch: &'a Path,
    /// This program, as it was when the run began.
    own: &'a Path,
    programs: &'a Overmount,
    load: &'a Load,
}

impl Lab<'_> {
    fn kernel(
        &self,
        cache: &Cache,
        manifest: &Manifest,
        series: &str,
        selection: &Selection,
    ) -> KernelReport {
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

    /// What tables of kernels call a kernel of a series.
    fn column(&self, series: &str) -> String {
        match self.config.guest.architecture {
            Architecture::Amd64 => series.to_owned(),
            Architecture::Arm64 => format!("{series}-arm64"),
        }
    }

    /// The files of the modules that tests need.
    fn modules(&self, kernel: &Kernel) -> Result<Vec<PathBuf>> {
        let guest = &self.config.guest;
        let mut files = Vec::new();
        for module in &guest.modules {
            files.extend(kernel.modules.files(module).with_context(|| {
                format!("{} has no module {module}, which the configuration names", kernel.release)
            })?);
        }
        files.extend(
            guest.modules_if_there.iter().flat_map(|module| kernel.modules.files(module)).flatten(),
        );
        Ok(files)
    }

    /// Boots a guest for the tests that have no result, and returns when each has one or the guest
    /// has died of one.
    fn guest(&self, kernel: &Kernel, report: &mut KernelReport) -> Result<()> {
        let first = report.results.len();
        let mut tasks = self.load.tasks[first..].to_vec();
        for task in &mut tasks {
            task.environment.insert(SERIES.to_owned(), self.column(&report.series));
        }
        let written = &self.load.files;
        let before = written
            .iter()
            .map(fs::read_to_string)
            .collect::<Result<Vec<_>, _>>()
            .context("read test data")?;
        let job = Job {
            modules: self.modules(kernel)?,
            programs: Some(self.programs.clone()),
            tasks: tasks.clone(),
            files: written.clone(),
        };
        let folder = self.scratch.join(format!("{}-{first}", report.series));
        let architecture = self.config.guest.architecture;
        let mut machine = boot(architecture, self.hardware, kernel, self.own, &folder, &job)?;

        let boot = Duration::from_secs(self.config.guest.boot_seconds);
        let no_test_has_run = match machine.next_event(boot) {
            Ok(Event::Ready { release }) if release == kernel.release => None,
            Ok(Event::Ready { release }) => {
                Some(format!("the guest runs {release} instead of {}", kernel.release))
            }
            Ok(Event::Broken { reason }) => Some(format!("the guest is not ready: {reason}")),
            Ok(event) => Some(format!("the guest began with {event:?}")),
            Err(silence) => Some(format!("the guest did not come up: {silence}")),
        };
        if let Some(why) = no_test_has_run {
            anyhow::bail!("{why}\nthe end of its console:\n{}", machine.console.end(SHOWN_CONSOLE));
        }
        let mut marks = (0..).map(mark);
        let mut said = |machine: &mut Machine| -> Result<Vec<String>> {
            let mark = marks.next().unwrap_or_default();
            Ok(complaints(&machine.console.up_to(&mark, GRACE)?))
        };
        report.complaints.extend(said(&mut machine)?);

        for task in &tasks {
            let mut result = result_of(&mut machine, task)?;
            let died = result.verdict == Verdict::Crashed;
            result.complaints = if died {
                machine.wait_until_off(GRACE);
                complaints(&machine.console.rest(SOON))
            } else {
                said(&mut machine)?
            };
            if !result.complaints.is_empty() && result.verdict == Verdict::Passed {
                result.verdict = Verdict::Failed;
            }
            report.results.push(result);
            self.tell_progress(report);
            if died {
                return Ok(());
            }
        }
        loop {
            match machine.next_event(GRACE) {
                Ok(Event::Written { file, contents }) => {
                    let known = written.iter().zip(&before).find(|(written, _)| **written == file);
                    let (_, before) =
                        known.with_context(|| format!("the guest wrote {}", file.display()))?;
                    replace(&file, before, &contents)?;
                }
                Ok(Event::Done) => break,
                Ok(Event::Broken { reason }) => {
                    anyhow::bail!("the guest could not go on: {reason}")
                }
                Ok(event) => anyhow::bail!("the guest said {event:?} after its last test"),
                Err(silence) => anyhow::bail!("the guest did not end as it should: {silence}"),
            }
        }
        report.complaints.extend(said(&mut machine)?);
        machine.wait_until_off(GRACE);
        report.complaints.extend(complaints(&machine.console.rest(SOON)));
        Ok(())
    }

    fn tell_progress(&self, report: &KernelReport) {
        if let Some(last) = report.results.last() {
            let (series, done, all) = (&report.series, report.results.len(), self.load.tasks.len());
            eprintln!(
                "{series:>5}  {done:>3}/{all}  {:<9}  {:>6.1} s  {}",
                last.verdict, last.seconds, last.test
            );
            if last.verdict != Verdict::Passed {
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
    let limit = Duration::from_secs(task.timeout_seconds) + GRACE;
    let result = |verdict, seconds, output| TestResult {
        test: task.name.clone(),
        verdict,
        seconds,
        output,
        complaints: vec![],
    };
    Ok(match machine.next_event(limit) {
        Ok(Event::Ended { ending, seconds, output, .. }) => {
            let (verdict, why) = match ending {
                Ending::Exited(0) if one_test_passed(&output) => (Verdict::Passed, String::new()),
                Ending::Exited(0) => {
                    (Verdict::Failed, "it exited with 0, yet no test ran".to_owned())
                }
                Ending::Exited(code) => (Verdict::Failed, format!("it exited with {code}")),
                Ending::Signalled(signal) => (Verdict::Failed, format!("signal {signal} ended it")),
                Ending::TimedOut => {
                    (Verdict::TimedOut, format!("it had {} s", task.timeout_seconds))
                }
                Ending::NotStarted => (Verdict::Failed, "it could not be started".to_owned()),
            };
            result(verdict, seconds, format!("{output}{why}"))
        }
        Ok(Event::Broken { reason }) => anyhow::bail!("the guest could not go on: {reason}"),
        Ok(event @ (Event::Ready { .. } | Event::Written { .. } | Event::Done)) => {
            anyhow::bail!("the guest said {event:?} too early")
        }
        Err(silence @ (Silence::TimedOut(_) | Silence::Off(_))) => {
            result(Verdict::Crashed, 0.0, format!("the guest died: {silence}"))
        }
        Err(silence @ Silence::Noise(_)) => anyhow::bail!("the guest is not understood: {silence}"),
    })
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
    fn programs_are_copied_with_the_folders_that_they_are_in() {
        let folder = tempfile::tempdir().expect("make a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("deps")).expect("make a folder");
        let binaries = [from.join("deps/test"), from.join("shunt")];
        binaries.iter().for_each(|binary| {
            fs::write(binary, binary.as_os_str().as_encoded_bytes()).expect("write")
        });
        let over = copy_programs(&binaries, &to).expect("copy");
        assert_eq!(over, Overmount { folder: to.clone(), at: from.clone() });
        for (binary, copy) in binaries.iter().zip([to.join("deps/test"), to.join("shunt")]) {
            assert_eq!(fs::read(copy).expect("read"), fs::read(binary).expect("read"));
        }
        let elsewhere = [from.join("shunt"), folder.path().join("other/program")];
        assert!(copy_programs(&elsewhere, &folder.path().join("again")).is_err());
    }

    #[test]
    fn what_a_guest_wrote_replaces_a_file_that_nobody_else_changed_meanwhile() {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        fs::write(file.path(), "one").expect("write");
        replace(file.path(), "one", "two").expect("replace");
        assert_eq!(fs::read_to_string(file.path()).expect("read"), "two");
        let error =
            replace(file.path(), "one", "three").expect_err("changed meanwhile").to_string();
        assert!(error.contains("one guest at a time"), "{error}");
        assert_eq!(fs::read_to_string(file.path()).expect("read"), "two");
    }
}
