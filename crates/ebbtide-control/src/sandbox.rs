//! One sandbox that has not ended, in memory, and every transition that it can make.
//!
//! A transition is made under one lock, first in the ledger (where it is one of those that must be durable), then
//! in memory, where a watch channel wakes whoever waits. So nobody ever sees a state that a crash could take back,
//! with one exception that is harmless: CREATING and RUNNING follow from what the driver has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ebbtide_model::{
    Event, MadeOf, MountedFile, Receipt, SandboxId, SandboxRecord, State, TerminationReason,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::LedgerError;
use crate::change;
use crate::events::{EventKind, Feed, Feeds};
use crate::failpoint::fail_point;
use crate::idle::Uses;
use crate::store::{Store, Stored};
use crate::time::{LONGEST, Time};

/// Why a sandbox is to end, and what is known of it at that moment.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) reason: TerminationReason,
    /// Words for a person beside the reason.
    pub(crate) message: String,
    /// The exit code, where the main command has ended already.
    pub(crate) exit_code: Option<i32>,
    /// How long its processes have after SIGTERM.
    pub(crate) grace: Duration,
    /// Who asked for it, in words, where somebody did.
    pub(crate) by: Option<String>,
}

/// What is known of a sandbox of which nothing is left.
#[derive(Debug)]
pub(crate) struct Epitaph {
    /// What leads to its terminal state.
    pub(crate) event: Event,
    pub(crate) exit_code: Option<i32>,
    /// Words for a person beside the reason.
    pub(crate) message: String,
    /// What its end released, where somebody saw it.
    pub(crate) receipt: Option<Receipt>,
    /// For how much longer than others its record is kept.
    pub(crate) longer: Duration,
}

impl Ending {
    pub(crate) fn new(reason: TerminationReason) -> Self {
        Self { reason, message: String::new(), exit_code: None, grace: Duration::ZERO, by: None }
    }

    pub(crate) fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// Makes it the ending of `record`; `false` if that is ending already, or has ended.
    fn apply(&self, record: &mut SandboxRecord) -> bool {
        let Ok(state) = record.state.after(Event::Ending) else { return false };
        record.state = state;
        record.paused = None;
        record.reason = Some(self.reason);
        record.ended_by.clone_from(&self.by);
        record.message.clone_from(&self.message);
        record.exit_code = self.exit_code;
        if let Some(main) = record.main_end {
            // That is why it ended; this only ends what was kept of it.
            record.reason = Some(main.reason);
            record.exit_code = Some(main.exit_code);
            record.message = format!("its files were kept until then: {}", self.reason);
        }
        true
    }
}

/// One sandbox that has not ended.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    /// Wakes a repetition that waits for its turn.
    pub(crate) retry: Notify,
    record: watch::Sender<SandboxRecord>,
    kill_at: watch::Sender<Instant>,
    image_ready: watch::Sender<bool>,
    /// Held around every change of which the driver is told too, see [`crate::change`].
    pub(crate) changing: tokio::sync::Mutex<()>,
    transition: Mutex<()>,
    feed: Arc<Feed>,
    tags: Arc<[String]>,
    pub(crate) uses: watch::Sender<Uses>,
    pub(crate) time: Arc<Time>,
    driven: AtomicBool,
    used: AtomicBool,
    /// Whether it is ending and the ledger does not know that yet.
    unrecorded: AtomicBool,
}

impl Sandbox {
    pub(crate) fn new(stored: Stored, feeds: &Feeds, time: &Arc<Time>) -> Arc<Self> {
        let Stored { record, kill_at } = stored;
        let kill_at = kill_at.map_or_else(Instant::now, |at| time.instant(at));
        Arc::new(Self {
            feed: feeds.of(&record.principal),
            tags: record.spec.tags.as_slice().into(),
            id: record.id.clone(),
            retry: Notify::new(),
            record: watch::Sender::new(record),
            kill_at: watch::Sender::new(kill_at),
            image_ready: watch::Sender::new(false),
            changing: tokio::sync::Mutex::new(()),
            transition: Mutex::new(()),
            uses: Uses::none(),
            time: Arc::clone(time),
            driven: AtomicBool::new(false),
            used: AtomicBool::new(false),
            unrecorded: AtomicBool::new(false),
        })
    }

    pub(crate) fn record(&self) -> SandboxRecord {
        self.record.borrow().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.record.borrow().state
    }

    /// Reads a part of the record without copying the rest.
    pub(crate) fn peek<T>(&self, read: impl FnOnce(&SandboxRecord) -> T) -> T {
        read(&self.record.borrow())
    }

    /// Waits until its lifetime is over.
    pub(crate) async fn expired(&self) {
        self.time.until(self.peek(|record| record.deadline)).await;
    }

    /// Wakes at every change of the record.
    pub(crate) fn changes(&self) -> watch::Receiver<SandboxRecord> {
        self.record.subscribe()
    }

    /// When the processes of a sandbox that is ending are killed. Moves only to earlier.
    pub(crate) fn kill_at(&self) -> watch::Receiver<Instant> {
        self.kill_at.subscribe()
    }

    /// Makes the caller the only one that takes this sandbox through its life, until the guard is dropped;
    /// `None` if there is one. A task that dies thus leaves the sandbox to the next reconcile.
    pub(crate) fn drive(self: &Arc<Self>) -> Option<Driven> {
        (!self.driven.swap(true, Ordering::AcqRel)).then(|| Driven(Arc::clone(self)))
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Acquire)
    }

    /// Whether nobody has asked this before.
    pub(crate) fn is_first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    /// Its image is ready, and is this one.
    pub(crate) fn prepared(&self, image: &MadeOf) {
        self.transition(|record| {
            if record.state == State::Pending {
                record.message.clear();
            }
            record.made_of = Some(image.clone());
            Ok(())
        })
        .ok();
        self.image_ready.send_replace(true);
    }

    /// Waits until its image is ready; for ever if that comes to nothing.
    pub(crate) async fn image_ready(&self) {
        if self.image_ready.subscribe().wait_for(|ready| *ready).await.is_err() {
            std::future::pending().await
        }
    }

    /// Its turn has come. Does nothing to a sandbox that is past that, or ending.
    pub(crate) fn claimed(&self) {
        self.transition(|record| {
            if let Ok(state) = record.state.after(Event::Claimed) {
                record.state = state;
            }
            Ok(())
        })
        .ok();
    }

    /// It runs since `at`. If it is ending already, only that is noted.
    pub(crate) fn started(&self, at: SystemTime) {
        self.transition(|record| {
            if let Ok(state) = record.state.after(Event::Started) {
                record.state = state;
            }
            record.started_at.get_or_insert(at);
            self.waits_anew();
            record.spec.mounted_files.iter_mut().for_each(MountedFile::forget_content);
            Ok(())
        })
        .ok();
    }

    /// Records that it is ending. One that ends already, or has ended, stays as it is.
    pub(crate) fn begin_ending(&self, store: &Store, ending: &Ending) -> Result<SandboxRecord, LedgerError> {
        self.end_as(ending, |record, kill_at| {
            fail_point!("stop.ending.before");
            store.begin_ending(record, kill_at)?;
            fail_point!("stop.ending.after");
            Ok(())
        })
    }

    /// As [`Sandbox::begin_ending`], while the ledger does not take it: see [`Sandbox::record_ending`].
    pub(crate) fn begin_ending_unrecorded(&self, ending: &Ending) {
        self.end_as(ending, |_, _| {
            self.unrecorded.store(true, Ordering::Release);
            Ok(())
        })
        .ok();
    }

    /// Its record says from now on that it is ending, once `recorded` has noted that, with when its processes are killed.
    fn end_as(
        &self,
        ending: &Ending,
        recorded: impl FnOnce(&SandboxRecord, SystemTime) -> Result<(), LedgerError>,
    ) -> Result<SandboxRecord, LedgerError> {
        self.transition(|record| {
            if ending.apply(record) {
                let grace = ending.grace.min(LONGEST);
                recorded(record, self.time.now() + grace)?;
                self.kill_at.send_replace(Instant::now() + grace);
            }
            Ok(())
        })
    }

    /// Whether it is ending and the ledger does not know that yet.
    pub(crate) fn is_unrecorded(&self) -> bool {
        self.unrecorded.load(Ordering::Acquire)
    }

    /// Records that it is ending, after the fact.
    pub(crate) fn record_ending(&self, store: &Store) -> Result<(), LedgerError> {
        self.transition(|record| store.begin_ending(record, self.time.now()))?;
        self.unrecorded.store(false, Ordering::Release);
        Ok(())
    }

    /// Shortens the grace period of one that is ending; a longer one changes nothing.
    pub(crate) fn shorten(&self, store: &Store, grace: Duration) {
        self.transition(|record| {
            let kill_at = Instant::now() + grace.min(LONGEST);
            if record.state == State::Terminating && kill_at < *self.kill_at.borrow() {
                // Where the ledger does not take it, only a daemon that comes after a crash waits for longer.
                if let Err(error) = store.begin_ending(record, self.time.now() + grace.min(LONGEST)) {
                    tracing::warn!(%error, "cannot record that its grace period is shorter");
                }
                self.kill_at.send_replace(kill_at);
            }
            Ok(())
        })
        .ok();
    }

    /// Records the exit code of one that is ending, so that it outlives a crash after the destroy.
    pub(crate) fn record_exit(&self, store: &Store, exit_code: i32) -> Result<(), LedgerError> {
        self.transition(|record| {
            record.exit_code = Some(exit_code);
            store.record_exit(record)
        })
        .map(drop)
    }

    /// Gives one that is ending another reason, which its tombstone will carry.
    pub(crate) fn overrule(&self, reason: TerminationReason) {
        self.transition(|record| {
            if record.state == State::Terminating {
                record.reason = Some(reason);
            }
            Ok(())
        })
        .ok();
    }

    /// Says to a person what it is waiting for. In memory only.
    pub(crate) fn note(&self, message: &str) {
        self.transition(|record| {
            record.message = message.to_owned();
            Ok(())
        })
        .ok();
    }

    /// Nothing of it is left: records the terminal state that this leads to. Between the ledger's knowing and
    /// everybody's it is `forgotten` in memory, so that who waits for its end finds it gone from there.
    pub(crate) fn tombstone(
        &self,
        store: &Store,
        epitaph: &Epitaph,
        forgotten: impl FnOnce(),
    ) -> Result<(), LedgerError> {
        self.transition(|record| {
            let Ok(state) = record.state.after(epitaph.event) else { return Ok(()) };
            record.state = state;
            record.exit_code = epitaph.exit_code;
            record.message.clone_from(&epitaph.message);
            record.receipt.clone_from(&epitaph.receipt);
            record.ended_at = Some(self.time.now());
            fail_point!("stop.tombstone.before");
            store.tombstone(record, epitaph.longer)?;
            fail_point!("stop.tombstone.after");
            forgotten();
            Ok(())
        })
        .map(drop)
    }

    /// Changes the record, and shows it to others only if `change` succeeds.
    pub(crate) fn transition(
        &self,
        change: impl FnOnce(&mut SandboxRecord) -> Result<(), LedgerError>,
    ) -> Result<SandboxRecord, LedgerError> {
        let _one_at_a_time = self.transition.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.record();
        let mut record = before.clone();
        change(&mut record)?;
        if record != before {
            // Told before it is shown, so that who waits for a state finds its event.
            if let Some((kind, message)) = change::told(&before.ownership, &record.ownership) {
                self.tell(kind, &message);
            }
            if let Some(kind) = happened(before.state, &record) {
                self.tell(kind, &record.message);
            }
            self.record.send_replace(record.clone());
        }
        Ok(record)
    }

    /// Tells whoever listens to the events of its principal.
    pub(crate) fn tell(&self, kind: EventKind, message: &str) {
        self.feed.publish(&self.id, &self.tags, kind, message);
    }
}

/// Held by the task that takes a sandbox through its life.
pub(crate) struct Driven(Arc<Sandbox>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.driven.store(false, Ordering::Release);
    }
}

/// The event of a change of state; `None` where it is of interest to nobody.
fn happened(before: State, record: &SandboxRecord) -> Option<EventKind> {
    // One without a reason was ended by a version that knew a reason which we do not.
    let reason = record.reason.unwrap_or(TerminationReason::Stopped);
    if let Some(kind) = change::frozen(before, record) {
        return Some(kind);
    }
    match record.state {
        state if state == before => None,
        State::Running => Some(EventKind::Running),
        State::Terminating => Some(EventKind::Stopping(reason)),
        State::Completed => Some(EventKind::Stopped { reason, exit_code: record.exit_code }),
        State::Failed => Some(EventKind::Failed(reason)),
        State::Pending | State::Creating | State::Paused => None,
    }
}
