//! `cargo xtask torture`: everything dies at random, by a schedule that follows from a seed, for as long as one likes.
//!
//! What is run is a test, which has a short version among the others. What all runs have come to is added up in a file
//! of the target directory, and each run of a seed goes on where the last one has ended.

use clap::Args;

use crate::workspace::{self, Workspace};
use crate::{Error, process, test};

/// What to torture.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture --seed 7 --minutes 10
  cargo xtask torture --seed 7 --steps 500..750     # again, what has failed; a part of it, to find the cause")]
pub(crate) struct Options {
    /// From which the schedule follows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Only these steps of the schedule, once: A..B. They are not added to the record.
    #[arg(long, value_name = "A..B", conflicts_with = "minutes")]
    steps: Option<String>,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    let fail_points = test::build_with_fail_points(&workspace)?;
    let mut tests = workspace.cargo(["test", "--package=ebbtide-tests", "--test=torture"]);
    tests.env("EBB_BIN", &fail_points).env("EBB_FAIL_POINTS_BIN", &fail_points);
    tests.env("EBBTIDE_TORTURE_SEED", options.seed.to_string());
    match &options.steps {
        Some(steps) => tests.env("EBBTIDE_TORTURE_STEPS", steps),
        None => {
            let directory = workspace.target.join("torture");
            workspace::make_dir(&directory)?;
            let seconds = options.minutes * 60;
            tests
                .env("EBBTIDE_TORTURE_SECONDS", seconds.to_string())
                .env("EBBTIDE_TORTURE_RECORD", directory.join("record.json"))
        }
    };
    process::run(tests.args(["--", "--nocapture"]))
}
