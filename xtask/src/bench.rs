//! `cargo xtask bench`: builds what is measured and what measures, then lets the latter run.
use clap::Args;

use crate::Error;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Install the runtimes to compare with (Debian packages) where they are missing.
    #[arg(long)]
    install: bool,
    /// Few repetitions: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
}

/// Measures.
pub(crate) fn run(_options: &Options) -> Result<(), Error> {
    Ok(())
}
