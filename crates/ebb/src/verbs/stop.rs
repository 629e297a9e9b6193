//! `ebb stop`: ends sandboxes and waits until they are gone.

use std::time::Duration;

use clap::Args;
use ebbtide::{Client, Target};
use futures::StreamExt as _;
use futures::stream;
use serde::Serialize;
use tokio::time::timeout;

use crate::context::Context;
use crate::failure::Failure;

/// How many are ended at once.
const AT_ONCE: usize = 32;
/// How long a sandbox may take to go, on top of its grace period.
const MARGIN: Duration = Duration::from_secs(60);

/// Stop sandboxes and wait until they are gone
///
/// Their commands get SIGTERM, and SIGKILL after the grace period.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb stop 01k3q
  ebb stop --grace 0 --missing-ok 01k3q 01k3r")]
pub(crate) struct Stop {
    /// The sandboxes: their ids, or the beginnings of them.
    #[arg(required = true)]
    ids: Vec<String>,
    /// How long the commands have after SIGTERM, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u32,
    /// A sandbox that is not there is no failure.
    #[arg(long)]
    missing_ok: bool,
}

/// What became of one sandbox.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Stopped,
    Missing,
    Failed,
}

#[derive(Serialize)]
struct TargetView {
    id: String,
    outcome: Outcome,
    error: Option<String>,
}

/// The stable shape of `ebb stop --json`.
#[derive(Serialize)]
struct StopView {
    sandboxes: Vec<TargetView>,
}

impl Stop {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let grace = Duration::from_secs(self.grace.into());
        let (client, ids) = context.resolve_all(&daemon, &self.ids).await?;
        let stops = self.ids.iter().zip(ids).map(async |(asked, id)| match id {
            Ok(id) => (id.clone(), stop(context, &daemon, &client, &id, grace, self.missing_ok).await),
            Err(Failure::NoSuchSandbox { .. }) if self.missing_ok => (asked.clone(), Ok(Outcome::Missing)),
            Err(failure) => (asked.clone(), Err(failure)),
        });
        let mut results: Vec<_> = stream::iter(stops).buffered(AT_ONCE).collect().await;
        if let [(_, Err(_))] = results[..]
            && let Some((_, Err(failure))) = results.pop()
        {
            return Err(failure);
        }
        let (total, failed) = (results.len(), results.iter().filter(|(_, result)| result.is_err()).count());
        if context.json {
            let sandboxes = results.into_iter().map(|(id, result)| view(id, result)).collect();
            context.print_json(&StopView { sandboxes })?;
        } else {
            for (id, result) in results {
                match result {
                    Ok(Outcome::Missing) => eprintln!("{id} was not there"),
                    Ok(_) => context.print(&id)?,
                    Err(failure) => eprintln!("ebb: {id}: {failure}"),
                }
            }
        }
        if failed > 0 { Err(Failure::Partly { failed, total }) } else { Ok(0) }
    }
}

fn view(id: String, result: Result<Outcome, Failure>) -> TargetView {
    match result {
        Ok(outcome) => TargetView { id, outcome, error: None },
        Err(failure) => TargetView { id, outcome: Outcome::Failed, error: Some(failure.to_string()) },
    }
}

async fn stop(
    context: &Context,
    daemon: &Target,
    client: &Client,
    id: &str,
    grace: Duration,
    missing_ok: bool,
) -> Result<Outcome, Failure> {
    let delete = async |client: &Client| client.delete(id, grace, missing_ok).await;
    if context.call_on(daemon, client, delete).await?.is_none() {
        return Ok(Outcome::Missing);
    }
    wait_gone(context, daemon, client, id, grace + MARGIN).await?;
    Ok(Outcome::Stopped)
}

/// Waits until a sandbox that is ending is gone, its record or not, also over the end of a daemon.
pub(crate) async fn wait_gone(
    context: &Context,
    daemon: &Target,
    client: &Client,
    id: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let wait = context.call_on(daemon, client, async |client| match client.wait(id).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    });
    match timeout(limit, wait).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::Slow { what: format!("the end of sandbox {id}"), seconds: limit.as_secs() }),
    }
}
