//! The command line of the kernel matrix.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use vm_tests::cache::Cache;
use vm_tests::config::Config;
use vm_tests::group;
use vm_tests::manifest::Manifest;
use vm_tests::matrix::{self, Selection};
use vm_tests::report::Conclusion;

/// Runs the tests of this workspace on other kernels, in virtual machines.
///
/// Exits with 0 when everything passed, with 1 when a test failed or a kernel complained, and with
/// 2 when nothing failed but not everything could be run.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// What to run on which kernels, instead of vm-tests/kernels.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where kernels are kept [default: shunt-vm in $XDG_CACHE_HOME or ~/.cache, shunt-vm-arm64 for
    /// arm64].
    #[arg(long, global = true, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    #[command(flatten)]
    Matrix(Matrix),
    /// Do what a job says and report on standard output: `run` has this started in each guest.
    #[command(hide = true)]
    Guest {
        /// The job, as JSON.
        job: PathBuf,
    },
    /// Be the first process of a guest, and then do as `guest`.
    #[command(hide = true)]
    Init {
        /// The job, as JSON.
        job: PathBuf,
    },
}

#[derive(Subcommand)]
enum Matrix {
    /// Fetch the newest kernel of each series from the Debian archive.
    Fetch {
        /// The archive to fetch from, a URI that ends in "debian" [default: the one this machine's
        /// apt uses, or Debian's].
        #[arg(long, value_name = "URI")]
        mirror: Option<String>,
        /// Do nothing, and use no network, when there is a kernel of each series.
        #[arg(long)]
        if_missing: bool,
    },
    /// Run every test on every kernel.
    Run(Run),
    /// Write the fetched kernels into a file, for a machine without a network.
    Export {
        /// The file to write: a tar archive.
        file: PathBuf,
    },
    /// Take the kernels from a file that `export` wrote.
    Import {
        /// The file to read.
        file: PathBuf,
    },
    /// List the kernels that are there.
    List,
}

#[derive(Args)]
struct Run {
    /// Leave a kernel out; the report says so. Can be given several times.
    #[arg(long, value_name = "SERIES", conflicts_with = "kernels")]
    exclude: Vec<String>,
    /// Run on this kernel and leave the others out. Can be given several times.
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<String>,
    /// How many guests run at the same time, at most [default: what the configuration has].
    #[arg(long, value_name = "NUMBER")]
    at_once: Option<usize>,
    /// Also write the report as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Set a variable in the environment of every test. Can be given several times.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// Run only tests whose names contain this.
    filter: Option<String>,
}

/// Everything passed.
const PASSED: u8 = 0;
/// A test failed.
const FAILED: u8 = 1;
/// Not everything could be run.
const INCOMPLETE: u8 = 2;

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("vm-tests: {error:#}");
            ExitCode::from(INCOMPLETE)
        }
    }
}

fn run(command: Command) -> Result<u8> {
    let action = match command.action {
        Action::Guest { job } => return vm_tests::guest::run(&job).map(|()| PASSED),
        Action::Init { job } => return vm_tests::init::run(&job).map(|never| match never {}),
        Action::Matrix(action) => action,
    };
    let config = Config::read(command.config.as_deref())?;
    let cache = Cache::open(command.cache, config.guest.architecture)?;
    match action {
        Matrix::Fetch { if_missing: true, .. } if cache.is_complete(&config)? => {
            list(&cache.manifest()?)
        }
        Matrix::Fetch { mirror, .. } => list(&cache.fetch(&config, mirror.as_deref())?),
        Matrix::Export { file } => cache.export(&file)?,
        Matrix::Import { file } => list(&cache.import(&file)?),
        Matrix::List => list(&cache.manifest()?),
        Matrix::Run(run) => {
            let selection = selection(&config, &run)?;
            group::end_all_on_signals().context("wait for signals")?;
            let report = matrix::run(&config, &cache, &selection)?;
            print!("{}", report.text());
            if let Some(file) = run.junit {
                let xml = report.junit().context("write the report as XML")?;
                fs::write(&file, xml).with_context(|| format!("write {}", file.display()))?;
            }
            return Ok(match report.conclusion() {
                Conclusion::Passed => PASSED,
                Conclusion::Failed => FAILED,
                Conclusion::Incomplete => INCOMPLETE,
            });
        }
    }
    Ok(PASSED)
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be NAME=VALUE"),
    }
}

fn selection(config: &Config, run: &Run) -> Result<Selection> {
    let series = || config.kernels.iter().map(|kernel| kernel.series.clone());
    for kernel in &run.kernels {
        ensure!(
            series().any(|series| series == *kernel),
            "there is no kernel {kernel} in the configuration"
        );
    }
    let excluded = if run.kernels.is_empty() {
        run.exclude.clone()
    } else {
        series().filter(|series| !run.kernels.contains(series)).collect()
    };
    Ok(Selection {
        excluded,
        filter: run.filter.clone(),
        environment: run.environment.iter().cloned().collect(),
        at_once: run.at_once,
    })
}

fn list(manifest: &Manifest) {
    for kernel in &manifest.kernels {
        println!("{:<6}  {}", kernel.series, kernel.release);
        for package in &kernel.packages {
            println!(
                "        {} {}\n        sha256 {}",
                package.name, package.version, package.sha256
            );
        }
    }
}
