//! `ebb shutdown`: ends everything of this home.

use std::time::Duration;

use clap::Args;
use ebbtide::{ConnectOptions, Error, Home, HomeLocation, Target, connect};
use serde::Serialize;
use tokio::time::timeout;

use crate::context::Context;
use crate::daemon::DaemonLock;
use crate::failure::Failure;

/// How long the sandboxes and their helpers may take to end.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the daemon may take to go once everything else has.
const DAEMON: Duration = Duration::from_secs(20);

/// End every sandbox of this home, its helpers and its daemon
///
/// May be called at any time, also when nothing runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ebb shutdown")]
pub(crate) struct Shutdown {}

/// The stable shape of `ebb shutdown --json`.
#[derive(Serialize)]
struct ShutdownView {
    was_running: bool,
}

impl Shutdown {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let location = context.own_location("shutdown")?;
        let was_running = match location.find().map_err(Error::from)? {
            Some(home) => shutdown(context, &location, &home).await?,
            None => false,
        };
        if context.json {
            context.print_json(&ShutdownView { was_running })?;
        } else if !was_running {
            eprintln!("nothing was running");
        }
        Ok(0)
    }
}

async fn shutdown(context: &Context, location: &HomeLocation, home: &Home) -> Result<bool, Failure> {
    let there = ConnectOptions { autostart: false, ..ConnectOptions::default() };
    let client = match connect(home, &there).await {
        Ok(client) => Some(client),
        // Only a daemon can end what an earlier one left running.
        Err(Error::NoDaemon { .. }) if left(home) => {
            Some(context.connect(&Target::Home(location.clone())).await?)
        }
        Err(Error::NoDaemon { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(client) = &client {
        match timeout(LIMIT, client.shutdown()).await {
            // It was on its way out; what it left is looked at below.
            Ok(Err(error)) if !error.is_disconnect() => return Err(error.into()),
            Ok(_) => {}
            Err(_) => {
                let what = "the end of the sandboxes".to_owned();
                return Err(Failure::Slow { what, seconds: LIMIT.as_secs() });
            }
        }
    }
    // The lock is free when the daemon is gone, and while it is ours none can start.
    let lock = DaemonLock::take_within(home, DAEMON).await?;
    if left(home) {
        return Err(Failure::Left { path: home.run_dir().to_owned() });
    }
    home.remove_run_dir().map_err(Error::from)?;
    drop(lock);
    Ok(client.is_some())
}

/// Whether a launcher or a sandbox may be left.
fn left(home: &Home) -> bool {
    let slots = std::fs::read_dir(home.run_dir().join("s"));
    home.run_dir().join("launcher.sock").exists() || slots.is_ok_and(|mut slots| slots.next().is_some())
}
