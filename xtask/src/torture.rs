//! `cargo xtask torture`: everything dies at random, by a schedule that follows from a seed, for as long as one likes.
//!
//! What is run is a test, which has a short version among the others. What all runs have come to is added up in a file
//! of the target directory, and each run of a seed goes on where the last one has ended.

use std::path::PathBuf;

use clap::Args;

use crate::workspace::{self, Workspace};
use crate::{Error, process, test};

/// What to torture.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture --seed 7 --minutes 10
  cargo xtask torture --seed 7 --steps 500..750     # again, what has failed; a part of it, to find the cause
  cargo xtask torture --schedule target/torture/seed-7-step-512.schedule    # again, what a failure was shrunk to")]
pub(crate) struct Options {
    /// From which the schedule follows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Only these steps of the schedule, once: A..B[,C..D]. They are not added to the record.
    #[arg(long, value_name = "A..B", conflicts_with = "minutes")]
    steps: Option<String>,
    /// Only the steps that this file names, once.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "seed", "steps"])]
    schedule: Option<PathBuf>,
    /// How long to look for the smallest part of a stretch that still fails; 0 for not at all.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=1440))]
    shrink_minutes: u64,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    let fail_points = test::build_with_fail_points(&workspace)?;
    let mut tests = workspace.cargo(["test", "--package=ebbtide-tests", "--test=torture"]);
    tests.env("EBB_BIN", &fail_points).env("EBB_FAIL_POINTS_BIN", &fail_points);
    tests.env("EBBTIDE_TORTURE_SEED", options.seed.to_string());
    tests.env("EBBTIDE_TORTURE_SHRINK_SECONDS", (options.shrink_minutes * 60).to_string());
    let directory = workspace.target.join("torture");
    workspace::make_dir(&directory)?;
    tests.env("EBBTIDE_TORTURE_RECORD", directory.join("record.json"));
    if let Some(steps) = &options.steps {
        tests.env("EBBTIDE_TORTURE_STEPS", steps);
    } else if let Some(schedule) = &options.schedule {
        let schedule = std::path::absolute(schedule).unwrap_or_else(|_| schedule.clone());
        tests.env("EBBTIDE_TORTURE_SCHEDULE", schedule);
    } else {
        tests.env("EBBTIDE_TORTURE_SECONDS", (options.minutes * 60).to_string());
    }
    process::run(tests.args(["--", "--nocapture", "whatever_dies"]))
}
