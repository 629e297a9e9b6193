//! `ebb image alias`: what the names of images stand for.

use std::collections::BTreeMap;

use clap::Args;
use ebbtide::Error;
use ebbtide_model::{ImageAliases, Invalid};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::images::AliasFile;
use crate::table;

/// Let a name stand for another image
///
/// Programs that ask for an image by name, `python:3.11` say, work where the name is an alias for an image that is here.
/// Aliases can also be given in `ebbtide.toml`; those made here come first.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["name", "list", "remove"]), after_help = "\
Examples:
  ebb image alias python:3.11 host
  ebb image alias --list
  ebb image alias --remove python:3.11")]
pub(super) struct Alias {
    /// The name.
    #[arg(requires = "target")]
    name: Option<String>,
    /// What it is to stand for: an image, or another alias.
    target: Option<String>,
    /// List the aliases that were made here.
    #[arg(long)]
    list: bool,
    /// Take an alias away.
    #[arg(long, value_name = "NAME")]
    remove: Option<String>,
}

/// The stable shape of `ebb image alias --list --json`.
#[derive(Serialize)]
struct AliasesView<'a> {
    aliases: BTreeMap<&'a str, &'a str>,
}

impl Alias {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let Self { name, target, list: _, remove } = self;
        let file = AliasFile::of(&context.own_location("image")?.open().map_err(Error::from)?);
        if let Some(removed) = remove {
            file.change(|mut aliases| {
                if aliases.remove(&removed) {
                    return Ok(aliases);
                }
                let problem = format!("{removed:?} is no alias");
                Err(Invalid::new("--remove", problem, "one of `ebb image alias --list`").into())
            })?;
        } else if let (Some(name), Some(target)) = (name, target) {
            let added = ImageAliases::new([(name, target)]).map_err(crate::images::AliasError::from)?;
            file.change(|aliases| Ok(aliases.overlaid_with(&added)?))?;
        } else {
            let known = file.read()?;
            if context.json {
                context.print_json(&AliasesView { aliases: known.iter().collect() })?;
            } else {
                let rows = known.iter().map(|(name, target)| vec![name.to_owned(), target.to_owned()]);
                context.print(&table::render(&["NAME", "STANDS FOR"], rows))?;
            }
        }
        Ok(0)
    }
}
