//! `cargo xtask`

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use xtask::target::{Built, Target};
use xtask::tier::Tier;
use xtask::{api, binary, bundle, crates, image, shell, test};

/// Runs the tests, and makes what is handed to operators
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// The tests of a tier, or of all
    Test {
        /// Which one, from the one that needs least
        #[arg(value_name = "TIER")]
        tier: Which,
    },
    /// Compares the public API of the libraries with what is written down in their api.txt
    Api {
        /// Writes it down anew
        #[arg(long)]
        update: bool,
    },
    /// Packs the libraries, and compiles their examples from what was packed
    Crates,
    /// The offline bundle: binary, unit, manifests, image, manual pages, completions, licences,
    /// SBOM, checksums
    Dist(Making),
    /// The container image alone, as an archive for `ctr images import` and `docker load`
    Image(Making),
    /// The manual pages or the completions alone
    #[command(subcommand)]
    Shell(Shell),
}

#[derive(Args)]
struct Making {
    /// How the binary is compiled
    #[arg(long, default_value = "release")]
    profile: String,
    /// What for: x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu, or both, one after the other
    /// [default: what this machine is]
    #[arg(long = "target", value_name = "TRIPLE")]
    targets: Vec<Target>,
    /// Where it goes
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    into: PathBuf,
}

#[derive(Subcommand)]
enum Shell {
    /// Pages for man(1)
    Man { folder: PathBuf },
    /// For bash, zsh and fish, below this prefix
    Completions { prefix: PathBuf },
}

#[derive(Clone, Copy)]
enum Which {
    One(Tier),
    All,
}

impl ValueEnum for Which {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: &[Which] = &[
            Which::One(Tier::Quick),
            Which::One(Tier::Root),
            Which::One(Tier::Applications),
            Which::One(Tier::Matrix),
            Which::One(Tier::Arm64),
            Which::All,
        ];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(tier) => tier.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("One after the other")),
        }
    }
}

impl Making {
    fn binaries(&self) -> Result<Vec<Built>> {
        let mut targets = self.targets.clone();
        if targets.is_empty() {
            targets.push(Target::native()?);
        }
        targets.sort();
        targets.dedup();
        targets.into_iter().map(|target| binary::build(&self.profile, target)).collect()
    }
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Test { tier } => {
            let tiers = match &tier {
                Which::One(tier) => std::slice::from_ref(tier),
                Which::All => Tier::value_variants(),
            };
            let mut failed = Vec::new();
            for &tier in tiers {
                if !test::run(tier)? {
                    failed.push(tier.name());
                }
            }
            ensure!(failed.is_empty(), "tests failed in: {}", failed.join(", "));
        }
        Task::Api { update } => api::run(update)?,
        Task::Crates => crates::check()?,
        Task::Dist(making) => {
            println!("{}", bundle::make(&making.binaries()?, &making.into)?.display());
        }
        Task::Image(making) => {
            let binaries = making.binaries()?;
            let into = &making.into;
            fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
            let path = into.join("image.tar");
            let file =
                File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            image::write(&binaries, BufWriter::new(file))?;
            println!("{}: {}", path.display(), image::name());
        }
        Task::Shell(Shell::Man { folder }) => shell::manual(&folder)?,
        Task::Shell(Shell::Completions { prefix }) => shell::completions(&prefix)?,
    }
    Ok(())
}
