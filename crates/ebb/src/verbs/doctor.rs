//! `ebb doctor`.

use clap::Args;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Look for what Ebbtide may have left behind
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ebb doctor --json")]
pub(crate) struct Doctor {}

impl Doctor {
    /// Does it.
    pub(crate) async fn run(self, _context: &Context) -> Result<u8, Failure> {
        eprintln!("ebb: this build cannot look yet");
        Ok(exit::EBBTIDE)
    }
}
