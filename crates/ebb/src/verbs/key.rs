//! `ebb key`: the API keys of this home, which programs on other machines need.

use clap::{Args, Subcommand};
use ebbtide::Error;
use ebbtide_server::{KeyFile, KeyRecord};
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::table;

/// Make, list and revoke API keys
///
/// Programs that call the daemon over the network (`ebb serve --listen`) need one. A key speaks for an organisation,
/// which sees its own sandboxes only. What changes here holds at once, also in a daemon that runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb key create --organization research --name 'nightly runs'
  ebb key list
  ebb key revoke a2b3c4d5")]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, this once
    Create {
        /// The organisation that it speaks for.
        #[arg(long, value_name = "NAME", default_value = "default")]
        organization: String,
        /// What it is for, in words.
        #[arg(long, value_name = "TEXT", default_value = "")]
        name: String,
    },
    /// List the keys, without their secrets
    List,
    /// Forget keys: from the next request on they are refused
    Revoke {
        /// The part of a key between `ebb_` and the next `_`.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// The stable shape of a key in JSON.
#[derive(Serialize)]
struct KeyView {
    id: String,
    organization: String,
    name: String,
    created_at: String,
    /// Only when it has just been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl KeyView {
    fn new(record: KeyRecord, key: Option<String>) -> Self {
        let KeyRecord { id, organization, name, created, .. } = record;
        let created_at = i64::try_from(created).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        Self { id, organization, name, created_at: created_at.unwrap_or_default().to_string(), key }
    }
}

/// The stable shape of `ebb key list --json` and `ebb key revoke --json`.
#[derive(Serialize)]
struct KeysView {
    keys: Vec<KeyView>,
}

impl Key {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let file = KeyFile::new(context.own_location("key")?.open().map_err(Error::from)?.keys());
        match self.action {
            Action::Create { organization, name } => {
                let made = file.create(&organization, &name)?;
                if context.json {
                    context.print_json(&KeyView::new(made.record, Some(made.secret)))?;
                } else {
                    context.print(&made.secret)?;
                    eprintln!(
                        "ebb: keep it now, it is not shown again; to revoke it: ebb key revoke {}",
                        made.record.id
                    );
                }
            }
            Action::List => {
                let keys: Vec<_> =
                    file.list()?.into_iter().map(|record| KeyView::new(record, None)).collect();
                if context.json {
                    context.print_json(&KeysView { keys })?;
                } else {
                    let rows =
                        keys.into_iter().map(|key| vec![key.id, key.organization, key.created_at, key.name]);
                    context.print(&table::render(&["ID", "ORGANIZATION", "CREATED", "NAME"], rows))?;
                }
            }
            Action::Revoke { ids } => {
                let mut keys = Vec::new();
                for id in ids {
                    keys.push(KeyView::new(file.revoke(&id)?, None));
                }
                if context.json {
                    context.print_json(&KeysView { keys })?;
                }
            }
        }
        Ok(0)
    }
}
