//! The sandboxes that end with this process, and ending them.
//!
//! They are held here from when they are asked for until they are known to have ended, so none is forgotten because
//! its Python object is. Ending them is work of the client's own thread: a signal handler only begins it, and an
//! interpreter that ends only waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ebbtide::{Error, ProcessLocal, Sandbox, StopFor, StopOptions};
use futures::StreamExt as _;
use futures::stream;
use tokio::time::sleep;

use crate::operation::{Cell, Operation};
use crate::outcome::Outcome;

/// How many are stopped at once.
const AT_ONCE: usize = 64;
/// How often, and the pause after the first failure; it doubles with each.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Owned {
    state: Mutex<State>,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<u64, Sandbox>,
    /// How many there may be before those that have ended are looked for.
    sweep_at: usize,
    /// What was asked for that must be done before the process ends.
    promised: Vec<Arc<Cell>>,
    /// The clean-up that is under way.
    cleaning: Option<Arc<Cell>>,
}

static OWNED: ProcessLocal<Owned> = ProcessLocal::new();

fn state() -> MutexGuard<'static, State> {
    OWNED.get().state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn sweep(&mut self) {
        self.sandboxes.retain(|_, sandbox| !sandbox.state().is_some_and(ebbtide::SandboxState::is_terminal));
        self.promised.retain(|cell| !cell.is_over());
        self.sweep_at = 2 * self.sandboxes.len() + 64;
    }
}

/// A number for one sandbox of this process.
pub(crate) fn number() -> u64 {
    OWNED.get().next.fetch_add(1, Ordering::Relaxed)
}

/// Makes a sandbox end with this process at the latest.
pub(crate) fn own(number: u64, sandbox: &Sandbox) {
    let mut state = state();
    state.sandboxes.insert(number, sandbox.clone());
    if state.sandboxes.len() > state.sweep_at {
        state.sweep();
    }
}

/// Lets a sandbox live on.
pub(crate) fn disown(number: u64) {
    state().sandboxes.remove(&number);
}

/// How many sandboxes end with this process, and how many ends of others it has promised.
pub(crate) fn count() -> usize {
    let mut state = state();
    state.sweep();
    state.sandboxes.len() + state.promised.len()
}

/// The ids of the sandboxes that end with this process.
pub(crate) fn ids() -> Vec<String> {
    let mut state = state();
    state.sweep();
    state.sandboxes.values().filter_map(Sandbox::id).collect()
}

/// Whether a clean-up is under way.
pub(crate) fn is_cleaning() -> bool {
    state().cleaning.as_ref().is_some_and(|cell| !cell.is_over())
}

/// Begins what must be done before the process ends, also if nobody waits for it.
pub(crate) fn promise<F>(future: F) -> Operation
where
    F: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let cell = Arc::<Cell>::default();
    let mut state = state();
    if state.promised.len() > 64 {
        state.sweep();
    }
    state.promised.push(Arc::clone(&cell));
    drop(state);
    Operation::fill(Arc::clone(&cell), future);
    Operation::of(cell)
}

/// Begins to stop every sandbox that ends with this process; the same one as before if that is under way. What could
/// not be stopped stays here and is tried again by the next one.
pub(crate) fn clean_up() -> Operation {
    let mut state = state();
    if let Some(cleaning) = state.cleaning.as_ref().filter(|cell| !cell.is_over()) {
        return Operation::of(Arc::clone(cleaning));
    }
    state.sweep();
    let (sandboxes, promised) = (state.sandboxes.clone(), state.promised.clone());
    let cell = Arc::<Cell>::default();
    state.cleaning = Some(Arc::clone(&cell));
    drop(state);
    Operation::fill(Arc::clone(&cell), async move {
        let stops = sandboxes.into_iter().map(|(number, sandbox)| async move {
            let failed = stop(&sandbox).await.err();
            if failed.is_none() {
                disown(number);
            }
            failed.map(|error| (sandbox.id().unwrap_or_default(), error))
        });
        let failed: Vec<_> = stream::iter(stops).buffer_unordered(AT_ONCE).collect().await;
        for cell in promised {
            cell.done().await;
        }
        Ok(Outcome::NotStopped(failed.into_iter().flatten().collect()))
    });
    Operation::of(cell)
}

async fn stop(sandbox: &Sandbox) -> Result<(), Error> {
    let options = StopOptions::default().missing_ok(true).stop_for(StopFor::Scope);
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match sandbox.stop_with(options).await {
            Err(_) => sleep(pause).await,
            stopped => return stopped,
        }
        pause *= 2;
    }
    sandbox.stop_with(options).await
}
