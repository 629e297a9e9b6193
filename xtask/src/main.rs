//! Every chore of the repository: `cargo xtask test`, `cargo xtask bench`.
//!
//! This program is compiled before any chore can begin, so it depends on little and does the heavy lifting by
//! calling other programs: cargo for the build, apt for what the host lacks, qemu for other kernels.

mod api;
mod apt;
mod bench;
mod error;
mod image;
mod pool_template;
mod process;
mod public_client;
mod python;
mod test;
mod torture;
mod trixie;
mod venv;
mod vm;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every chore of the repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs what the tests need and runs every check and test.
    Test(test::Options),
    /// Measures Ebbtide beside fork+exec, unshare, bwrap, crun and runc; writes docs/benchmarks.md.
    Bench(bench::Options),
    /// Shows how the interface of the crate `ebbtide` differs from docs/api/ebbtide.txt.
    Api(api::Options),
    /// Makes an image for tests, and for machines without a registry, and loads it.
    Image(image::Options),
    /// Builds the Python package for any Linux with an old enough C library; prints where it is.
    Wheel(wheel::Options),
    /// Kills and stops everything at random, and looks whether anything outlives its owner.
    Torture(torture::Options),
    /// Makes the empty file system that the disk pool starts from; needs mkfs.btrfs, seldom to be done.
    PoolTemplate,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Api(options) => api::run(&options),
        Chore::Image(options) => image::run(&options),
        Chore::Wheel(options) => wheel::run(&options),
        Chore::Torture(options) => torture::run(&options),
        Chore::PoolTemplate => pool_template::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
