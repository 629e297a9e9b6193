//! Sandboxes whose last handle was dropped, and what became of them.
//!
//! Dropping a handle must not wait, so it only hands the id over to here. A background thread stops the sandbox,
//! with a bounded number of attempts. What could not be stopped is kept, and can be asked for ([`not_stopped`]) and
//! tried again ([`retry`]).
//!
//! A program that ends does not wait for that thread. What it had not stopped by then, for whatever reason, is
//! ended by the daemon after the grace period of owners, a minute by default: the daemon sees the process go. Wait
//! for [`settled`] at the end of `main` where that is too long.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::sandbox::{StopFor, StopOptions, end};
use crate::{Connection, Error, ProcessLocal, engine};

const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles with each.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, also if the other side asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A sandbox that could not be stopped.
#[derive(Debug, Clone)]
pub struct NotStopped {
    /// Its id.
    pub id: String,
    /// Why the last attempt failed.
    pub error: Error,
}

#[derive(Debug)]
struct Entry {
    connection: Connection,
    /// Why it could not be stopped; `None` while that is being tried.
    failed: Option<Error>,
}

/// A forked child begins without any: they are its parent's to stop.
#[derive(Debug, Default)]
struct Registry {
    entries: Mutex<BTreeMap<String, Entry>>,
    settled: Notify,
}

static REGISTRY: ProcessLocal<Registry> = ProcessLocal::new();

fn entries() -> MutexGuard<'static, BTreeMap<String, Entry>> {
    REGISTRY.get().entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a sandbox stopped. Never waits and never panics.
pub(crate) fn hand_over(connection: Connection, id: String) {
    let entry = Entry { connection: connection.clone(), failed: None };
    entries().insert(id.clone(), entry);
    begin(connection, id);
}

fn begin(connection: Connection, id: String) {
    let begun = engine::spawn({
        let id = id.clone();
        async move {
            let ended = stop(&connection, &id).await;
            note(&id, ended);
        }
    });
    if let Err(error) = begun {
        note(&id, Err(error));
    }
}

async fn stop(connection: &Connection, id: &str) -> Result<(), Error> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        match end(connection, id, StopOptions::default().stop_for(StopFor::Scope)).await {
            Err(error) if attempt < ATTEMPTS => {
                sleep(error.retry_delay().unwrap_or(pause).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
            ended => return ended,
        }
    }
    Ok(())
}

fn note(id: &str, ended: Result<(), Error>) {
    let mut entries = entries();
    match ended {
        Ok(()) => drop(entries.remove(id)),
        Err(error) => {
            if let Some(entry) = entries.get_mut(id) {
                entry.failed = Some(error);
            }
        }
    }
    drop(entries);
    REGISTRY.get().settled.notify_waiters();
}

/// The sandboxes that are being stopped.
///
/// ```
/// assert!(ebbtide::registry::pending().is_empty());
/// ```
pub fn pending() -> Vec<String> {
    entries().iter().filter(|(_, entry)| entry.failed.is_none()).map(|(id, _)| id.clone()).collect()
}

/// The sandboxes that could not be stopped. They still end: with this process, or when their lifetime is over.
///
/// ```
/// for left in ebbtide::registry::not_stopped() {
///     eprintln!("{}: {}", left.id, left.error);
/// }
/// ```
pub fn not_stopped() -> Vec<NotStopped> {
    let failed =
        |(id, entry): (&String, &Entry)| Some(NotStopped { id: id.clone(), error: entry.failed.clone()? });
    entries().iter().filter_map(failed).collect()
}

/// Tries to stop again what could not be stopped.
pub fn retry() {
    let mut again = Vec::new();
    for (id, entry) in entries().iter_mut() {
        if entry.failed.take().is_some() {
            again.push((entry.connection.clone(), id.clone()));
        }
    }
    for (connection, id) in again {
        begin(connection, id);
    }
}

/// Waits until nothing is being stopped any more; `false` if that takes longer than `limit`.
///
/// ```
/// # async fn example() {
/// use std::time::Duration;
///
/// if !ebbtide::registry::settled(Duration::from_secs(30)).await {
///     eprintln!("still being stopped: {:?}", ebbtide::registry::pending());
/// }
/// # }
/// ```
pub async fn settled(limit: Duration) -> bool {
    engine::run(async move { Ok(settled_within(limit).await) }).await.unwrap_or(false)
}

/// The same on the crate's own thread.
pub(crate) async fn settled_within(limit: Duration) -> bool {
    timeout(limit, wait()).await.is_ok()
}

async fn wait() {
    loop {
        let mut changed = pin!(REGISTRY.get().settled.notified());
        changed.as_mut().enable();
        if pending().is_empty() {
            return;
        }
        changed.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectOptions, HomeLocation, Target};

    #[tokio::test]
    async fn what_could_not_be_stopped_is_kept_and_can_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeLocation::new(dir.path().join("home"), dir.path().join("run"));
        let options = ConnectOptions { autostart: false, ..Default::default() };
        let connection = Connection::to(Target::Home(home), options);
        hand_over(connection, "01-of-nobody".into());
        assert_eq!(pending(), ["01-of-nobody"]);
        assert!(settled(Duration::from_secs(60)).await);
        let failed = not_stopped();
        assert_eq!(failed[0].id, "01-of-nobody");
        assert!(matches!(failed[0].error, Error::NoDaemon { .. }), "{}", failed[0].error);
        retry();
        assert_eq!(pending(), ["01-of-nobody"]);
        assert!(settled(Duration::from_secs(60)).await);
        assert_eq!(not_stopped().len(), 1);
    }
}
