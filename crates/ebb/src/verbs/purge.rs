//! `ebb purge`: ends a set of sandboxes, after having shown which.

use std::time::Duration;

use clap::{ArgGroup, Args};
use ebbtide::{Client, Select};
use futures::StreamExt as _;
use futures::stream;
use serde::Serialize;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::verbs::stop::wait_gone;

const AT_ONCE: usize = 32;
const LIMIT: Duration = Duration::from_secs(60);

/// End all sandboxes, or all with given tags
///
/// Shows what would end; ends it only with --yes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["tags", "all"])), after_help = "\
Examples:
  ebb purge --tag demo
  ebb purge --all --yes")]
pub(crate) struct Purge {
    /// Those with this tag; repeated, those with all of them.
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    tags: Vec<String>,
    /// Every sandbox of yours in this home.
    #[arg(long)]
    all: bool,
    /// Do it.
    #[arg(long, short)]
    yes: bool,
}

/// The stable shape of `ebb purge --json`.
#[derive(Serialize)]
struct PurgeView {
    dry_run: bool,
    matched: Vec<String>,
    failed: Vec<String>,
}

impl Purge {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let select = Select { tags: self.tags.clone(), ..Select::default() };
        let (client, sandboxes) =
            context.call(&daemon, async |client| client.list(select.clone()).await).await?;
        let matched: Vec<String> = sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect();
        if !self.yes {
            return self.show(context, matched);
        }
        let purge = async |client: &Client| client.purge(&self.tags, self.all, false).await;
        let answer = context.call_on(&daemon, &client, purge).await?;
        let mut failed = answer.failed;
        let ending = matched.iter().filter(|id| !failed.contains(id)).cloned();
        let waits = ending.map(async |id| {
            let gone = wait_gone(context, &daemon, &client, &id, LIMIT).await;
            gone.err().map(|failure| (id, failure))
        });
        let late: Vec<_> = stream::iter(waits).buffer_unordered(AT_ONCE).collect().await;
        for (id, failure) in late.into_iter().flatten() {
            eprintln!("ebb: {id}: {failure}");
            failed.push(id);
        }
        let ended = answer.count.saturating_sub(failed.len());
        let code = if failed.is_empty() { 0 } else { exit::PARTLY };
        if context.json {
            context.print_json(&PurgeView { dry_run: false, matched, failed })?;
        } else {
            context.print(&format!("{ended} ended"))?;
            for id in failed {
                eprintln!("ebb: {id} did not end\n  try: ebb stop --grace 0 {id}");
            }
        }
        Ok(code)
    }

    fn show(self, context: &Context, matched: Vec<String>) -> Result<u8, Failure> {
        if context.json {
            context.print_json(&PurgeView { dry_run: true, matched, failed: Vec::new() })?;
            return Ok(0);
        }
        for id in &matched {
            context.print(id)?;
        }
        let which = if self.all {
            "--all".to_owned()
        } else {
            self.tags.iter().map(|tag| format!("--tag {tag}")).collect::<Vec<_>>().join(" ")
        };
        eprintln!("{} would end; to end them: ebb purge {which} --yes", matched.len());
        Ok(0)
    }
}
