//! A sandbox that is to be gone should a signal come: made, used, and removed, whatever happens in between.

use std::cell::Cell;
use std::time::Duration;

use ebbtide::proto::coreweave::sandbox::v1 as wire;
use ebbtide::{Client, Target};
use ebbtide_model::SandboxId;
use tokio::time::timeout;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::signals::Signals;

/// How long the removal may take before we go without having seen its end.
const REMOVAL: Duration = Duration::from_secs(10);

/// A sandbox that is to be gone should a signal come.
pub(crate) struct Disposable {
    /// Its daemon.
    pub(crate) client: Client,
    /// Its id.
    pub(crate) id: String,
}

impl Disposable {
    /// Makes it. A signal that comes meanwhile is a failure that leaves nothing.
    pub(crate) async fn make(
        context: &Context,
        daemon: &Target,
        spec: wire::SandboxSpec,
        signals: &mut Signals,
    ) -> Result<Self, Failure> {
        // The same id in every attempt, so that a lost answer does not make a second sandbox.
        let request_id = SandboxId::generate().to_string();
        let asked = Cell::new(false);
        let create = context.call(daemon, async |client| {
            asked.set(true);
            client.create(spec.clone(), &request_id).await
        });
        tokio::pin!(create);
        let signal = tokio::select! {
            created = &mut create => {
                let (client, sandbox) = created?;
                return Ok(Self { client, id: sandbox.sandbox_id });
            }
            signal = signals.next() => signal,
        };
        if !asked.get() {
            return Err(Failure::Interrupted { signal });
        }
        // The request may be on its way: only its answer tells what there is to remove.
        let created = tokio::select! {
            created = timeout(REMOVAL, create) => created,
            signal = signals.next() => exit_at_once(signal),
        };
        if let Ok(Ok((client, sandbox))) = created {
            Self { client, id: sandbox.sandbox_id }.remove(context, daemon, signals).await;
        }
        Err(Failure::Interrupted { signal })
    }

    /// Removes it and waits until it is gone, but not for ever. Says so if it may still be there.
    pub(crate) async fn remove(self, context: &Context, daemon: &Target, signals: &mut Signals) {
        let removal = async {
            let removed = remove(&self.client, &self.id).await;
            match removed {
                // The daemon went under us; its successor knows the sandbox.
                Err(error) if error.is_disconnect() => context
                    .call(daemon, async |client| remove(client, &self.id).await)
                    .await
                    .map(|_| ())
                    .map_err(|failure| failure.to_string()),
                other => other.map_err(|error| error.to_string()),
            }
        };
        let removal = timeout(REMOVAL, removal);
        tokio::pin!(removal);
        let outcome = loop {
            tokio::select! {
                outcome = &mut removal => break outcome,
                signal = signals.next() => if signals.seen() > 1 { exit_at_once(signal) },
            }
        };
        let problem = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(problem)) => problem,
            Err(_) => format!("no answer within {} s", REMOVAL.as_secs()),
        };
        eprintln!("ebb: sandbox {} may still be there ({problem}); it ends soon by itself", self.id);
        eprintln!("  try: ebb stop {}", self.id);
    }
}

async fn remove(client: &Client, id: &str) -> Result<(), ebbtide::Error> {
    if client.delete(id, Duration::ZERO, true).await?.is_none() {
        return Ok(());
    }
    match client.wait(id).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The second signal: whoever sends it does not want to wait. The owner's death removes the sandbox.
fn exit_at_once(signal: i32) -> ! {
    std::process::exit(exit::of_signal(signal).into())
}
