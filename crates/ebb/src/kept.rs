//! Leaving a sandbox to its keep policy, and saying how to look at it.

use std::time::Duration;

use ebbtide::{Description, Error, SandboxInfo, SandboxState, StopFor};
use jiff::Timestamp;
use tokio::time::timeout;

use crate::disposable::Disposable;

/// How long the daemon may take to say what becomes of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Leaves it to its keep policy, and says what came of that. Where nobody answers, our own end is what the daemon then
/// decides by.
pub(crate) async fn leave(sandbox: &Disposable, stop_for: StopFor) {
    let id = &sandbox.id;
    match timeout(PATIENCE, asked(sandbox, stop_for)).await {
        Ok(Ok(Some(kept))) => eprintln!("{}", words(&kept)),
        // It has ended by itself, and nothing could be kept.
        Ok(Ok(None)) => {}
        _ => eprintln!("ebb: sandbox {id} is left to be kept\n  try: ebb why {id}"),
    }
}

/// What is kept; `None` if nothing is.
async fn asked(sandbox: &Disposable, stop_for: StopFor) -> Result<Option<Description>, Error> {
    let Disposable { client, id } = sandbox;
    let left = client.delete_for(id, Duration::ZERO, stop_for).await?;
    match left.map(SandboxInfo::from) {
        Some(left) if left.is_alive() => client.describe(id).await.map(Some),
        _ => Ok(None),
    }
}

fn words(kept: &Description) -> String {
    let id = &kept.sandbox.id;
    let until = kept.ownership.until.and_then(|until| Timestamp::try_from(until).ok());
    let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    let why = kept.ownership.reason.as_deref().unwrap_or_default();
    let (how, first) = match kept.sandbox.state {
        SandboxState::Paused => (" paused", format!("ebb resume {id} && ")),
        _ => ("", String::new()),
    };
    format!(
        "ebb: sandbox {id} is kept{how}{until}: {why}\n  try: {first}ebb exec {id} -- sh\n       \
         ebb cp {id}:/path .\n       ebb stop {id}"
    )
}
