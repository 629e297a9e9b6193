//! `ebb image`: the images of the home, and their names.

mod alias;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::Failure;

/// Say what the names of images stand for
///
/// Programs that ask for an image by name, `python:3.11` say, work where the name is an alias for an image that is here.
/// What changes holds from the next sandbox on. Aliases can also be given in `ebbtide.toml`; those made here come first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image alias python:3.11 host
  ebb image alias --list
  ebb image alias --remove python:3.11")]
pub(crate) struct Image {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Alias(alias::Alias),
}

impl Image {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.action {
            Action::Alias(alias) => alias.run(context),
        }
    }
}
