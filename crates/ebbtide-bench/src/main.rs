//! Measures Ebbtide beside other ways to run a command in isolation. Started by `cargo xtask bench`, which builds
//! what is measured and gives this program a mount namespace of its own.

mod copies;
mod daemon;
mod error;
mod facts;
mod helper;
mod images;
mod leftovers;
mod measure;
mod mounts;
mod output;
mod peers;
mod python;
mod report;
mod stats;
mod subject;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::images::Rounds;
use crate::measure::{Amount, Tools};
use crate::subject::Contest;

#[derive(Parser)]
#[command(name = "ebbtide-bench", about = "Measures Ebbtide beside other ways to run a command in isolation")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Measures and writes the report.
    Measure {
        /// The `ebb` to measure.
        #[arg(long)]
        ebb: PathBuf,
        /// A Python that has the public client.
        #[arg(long)]
        python: PathBuf,
        /// Where Ebbtide's own package for Python lies.
        #[arg(long)]
        packages: PathBuf,
        /// Where to write the report; standard output if not given.
        #[arg(long)]
        report: Option<PathBuf>,
        /// Few repetitions: to see that it works, not to quote.
        #[arg(long)]
        quick: bool,
        /// Only these parts, on the host's own mounts.
        #[arg(long, value_enum)]
        only: Vec<Part>,
    },
    /// Starts other programs and takes their time, or becomes another that does; for `measure` only.
    #[command(name = helper::ROLE, hide = true)]
    Helper {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

/// How many mounts a host has beside its own, in turn.
const MOUNTS: [usize; 2] = [0, 500];
/// A block is longer than any pool is deep, so that nothing is only put off until the pause after it.
const FULL: Amount = Amount { rounds: 10, block: 25, gapped: 20 };
const QUICK: Amount = Amount { rounds: 3, block: 5, gapped: 5 };

const FULL_IMAGES: Rounds = Rounds { pulls: 5, starts: 10, block: 10 };
const QUICK_IMAGES: Rounds = Rounds { pulls: 1, starts: 2, block: 3 };

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A sandbox for one command.
    Once,
    /// A command in a sandbox that runs.
    Exec,
    /// The same from a Python program.
    Python,
    /// The end of a sandbox.
    Stop,
    /// Pulling an image, and starting from one.
    Images,
}

impl Part {
    fn contest(self) -> Option<Contest> {
        match self {
            Self::Once => Some(Contest::Once),
            Self::Exec => Some(Contest::Exec),
            Self::Python => Some(Contest::Python),
            Self::Stop => Some(Contest::Stop),
            Self::Images => None,
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().role {
        Role::Helper { program } => helper::run(&program),
        Role::Measure { ebb, python, packages, report, quick, only } => {
            run(&Tools { ebb, python, packages }, &only, report, quick)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ebbtide-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(tools: &Tools, only: &[Part], report: Option<PathBuf>, quick: bool) -> Result<(), Error> {
    let everything = only.is_empty();
    let some: Vec<Contest> = only.iter().filter_map(|part| part.contest()).collect();
    let contests = if everything { &Contest::ALL } else { &some[..] };
    let mounts = match contests {
        [] => &[],
        _ if everything => &MOUNTS[..],
        _ => &MOUNTS[..1],
    };
    let (amount, rounds) = if quick { (QUICK, QUICK_IMAGES) } else { (FULL, FULL_IMAGES) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("starting the client's runtime"))?;
    let machine = facts::machine();
    let (mut outcomes, mut aftermaths) = (Vec::new(), Vec::new());
    for mounts in mounts {
        let (measured, aftermath) = runtime.block_on(measure::under(*mounts, tools, contests, amount))?;
        outcomes.extend(measured);
        aftermaths.push(aftermath);
    }
    let images = if everything || only.contains(&Part::Images) {
        Some(runtime.block_on(images::measure(&tools.ebb, rounds))?)
    } else {
        None
    };
    let page = report::page(&machine, amount, contests, &outcomes, &aftermaths, images.as_ref());
    match report {
        Some(path) => {
            std::fs::write(&path, page).map_err(Error::io(format!("writing {}", path.display())))?
        }
        None => print!("{page}"),
    }
    let bad = aftermaths.iter().filter(|after| !after.doctor || !after.left.is_empty());
    let said: Vec<String> =
        bad.map(|after| format!("{}\n{}", after.left.join("\n"), after.doctor_said)).collect();
    if said.is_empty() { Ok(()) } else { Err(Error::Leftovers(said.join("\n"))) }
}
