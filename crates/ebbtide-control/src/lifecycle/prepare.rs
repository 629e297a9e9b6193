//! Step *prepare*: the image is made ready, which may mean minutes of pulling it.
//!
//! It comes before a create's turn, so that a hundred creates that wait for a registry hold up nobody whose image is
//! here. How far it is goes into the record's message, in memory only: another daemon would begin with the preparation
//! anyway, and does not need to know.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ebbtide_model::{State, TerminationReason};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::events::EventKind;
use crate::images::{ImageRequest, PreparedImage};
use crate::metrics::{Queue, Step};
use crate::sandbox::{Ending, Sandbox};

/// The shortest time between two events about one preparation; the record is more up to date.
const BETWEEN_EVENTS: Duration = Duration::from_secs(5);

/// Makes the image of `sandbox` ready, no longer than its lifetime; `None` if it was ended before that.
pub(super) async fn run(engine: &Engine, sandbox: &Sandbox) -> Result<Option<PreparedImage>, Ending> {
    let request = sandbox.peek(|record| ImageRequest::of(&record.spec));
    let mut changes = sandbox.changes();
    let (_waiting, begun) = (engine.metrics.wait_in(Queue::Image), Instant::now());
    let next_event = Mutex::new(begun);
    let progress = |message: String| {
        sandbox.note(&message);
        let mut next = next_event.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() >= *next {
            *next = Instant::now() + BETWEEN_EVENTS;
            sandbox.tell(EventKind::Preparing, &message);
        }
    };
    tokio::select! {
        biased;
        _ = changes.wait_for(|record| record.state == State::Terminating) => Ok(None),
        prepared = engine.config.images.prepare(&request, &progress) => {
            engine.metrics.took(Step::Prepare, begun);
            let prepared = prepared.map_err(|error| {
                Ending::new(TerminationReason::CreateFailed).with_message(error.to_string())
            })?;
            sandbox.prepared(&prepared.made_of);
            Ok(Some(prepared))
        }
        () = sandbox.expired() => {
            let message = "its lifetime was over before its image was here";
            Err(Ending::new(TerminationReason::LifetimeExpired).with_message(message))
        }
    }
}
