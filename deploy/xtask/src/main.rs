//! `cargo xtask`

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use xtask::{binary, bundle, image, shell};

/// Makes what is handed to operators
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
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

fn main() -> Result<()> {
    match Task::parse() {
        Task::Dist(Making { profile, into }) => {
            println!("{}", bundle::make(&binary::build(&profile)?, &into)?.display());
        }
        Task::Image(Making { profile, into }) => {
            let binary = binary::build(&profile)?;
            let content =
                fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
            fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;
            let path = into.join("image.tar");
            let file =
                File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            image::write(&content, BufWriter::new(file))?;
            println!("{}: {}", path.display(), image::name());
        }
        Task::Shell(Shell::Man { folder }) => shell::manual(&folder)?,
        Task::Shell(Shell::Completions { prefix }) => shell::completions(&prefix)?,
    }
    Ok(())
}
