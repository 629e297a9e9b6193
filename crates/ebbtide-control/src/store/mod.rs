//! The ledger: one SQLite file, spoken to in the words of the engine. All SQL of the crate is here.
//!
//! One connection behind a mutex, called straight from asynchronous code: with WAL and `synchronous = NORMAL` a
//! commit is a write to the page cache (some 25 µs), less than handing it to another thread would take. A killed
//! daemon loses no commit; a machine that loses power may lose those of the last moment (see [`durable`]), and with
//! them all that they spoke of.
//!
//! From create to gone a sandbox costs three commits: [`Store::record_intent`], [`Store::begin_ending`] and
//! [`Store::tombstone`]. Two more exist off that way. [`Store::mark_running`] is written some 50 ms later, many at
//! once, and not at all for what is gone by then: it only lets a later daemon tell a sandbox that once ran (and
//! whose main command must never start again) from one whose create was cut off. [`Store::record_exit`] keeps the
//! exit code of a command that ended within a stop's grace period, because the destroy that follows forgets it.

mod checkpoint;
mod clock;
mod codec;
mod durable;
mod error;
mod lease;
mod place;
mod query;
mod repair;
mod room;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ebbtide_model::{PauseReason, SandboxId, SandboxRecord, State, TerminationReason};
use rusqlite::{Connection, named_params};

use checkpoint::Checkpoint;
pub(crate) use codec::{Stored, from_millis, millis};
use durable::Durable;
pub use error::LedgerError;
pub(crate) use lease::LeaseRow;
use place::Place;
pub(crate) use query::{Cursor, read_all};
pub use repair::Repaired;
pub(crate) use repair::repair;

/// How long a write waits for another process that holds the lock for writing. Whoever else has something to ask waits too.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same once it has been in vain, until there is a write again: so many in a row would add up.
const IMPATIENCE: Duration = Duration::from_millis(20);

/// The ledger, open for writing.
pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Whether the last write has waited in vain.
    is_locked: AtomicBool,
    place: Mutex<Place>,
    commits: AtomicU64,
    checkpoint: Checkpoint,
    durable: Durable,
}

impl Store {
    /// Opens the ledger, and makes it if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_open(path) {
                // SQLite does not wait for one that is just closing it.
                Err(LedgerError::Busy { .. }) if Instant::now() < until => std::thread::sleep(IMPATIENCE),
                opened => return opened,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, LedgerError> {
        let left_over = checkpoint::holds_any(path);
        let connection = schema::open(path)?;
        room::reserve(path);
        let checkpoint = Checkpoint::open(path)?;
        if left_over {
            // A daemon that was killed may have forgotten something in it that nobody is to read any more.
            checkpoint.forgotten();
        }
        Ok(Self {
            checkpoint,
            durable: Durable::of(path),
            path: path.to_owned(),
            connection: Mutex::new(connection),
            is_locked: AtomicBool::new(false),
            place: Mutex::new(Place::of(path)),
            commits: AtomicU64::new(0),
        })
    }

    /// Records that a sandbox is to be made. Where the principal has used the request id before, nothing is
    /// written and that record is the answer.
    pub(crate) fn record_intent(&self, record: &SandboxRecord) -> Result<Option<Stored>, LedgerError> {
        self.has_room()?;
        let connection = self.connection();
        if codec::insert(&connection, record).map_err(self.fail("record an intent"))? {
            self.committed();
            return Ok(None);
        }
        let earlier = query::by_request_id(&connection, &record.principal, &record.request_id)
            .map_err(self.fail("look up a request id"))?;
        earlier.map(Some).ok_or_else(|| self.no_record(&record.id))
    }

    /// The record of an earlier create with this request id.
    pub(crate) fn by_request_id(
        &self,
        principal: &ebbtide_model::Principal,
        request_id: &str,
    ) -> Result<Option<Stored>, LedgerError> {
        query::by_request_id(&self.connection(), principal, request_id)
            .map_err(self.fail("look up a request id"))
    }

    /// Records that sandboxes run, where nothing has ended them meanwhile.
    pub(crate) fn mark_running(&self, running: &[SandboxRecord]) -> Result<(), LedgerError> {
        let mut connection = self.connection();
        let mark = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction.prepare_cached(
                    "UPDATE sandbox SET state = :running, started = :started, made_of = coalesce(:made_of, made_of)
                     WHERE id = :id AND state IN (:pending, :creating)",
                )?;
                for record in running {
                    statement.execute(named_params! {
                        ":id": record.id.as_str(),
                        ":started": record.started_at.map(codec::millis),
                        ":made_of": record.made_of.as_ref().map(codec::json).transpose()?,
                        ":running": State::Running.as_str(),
                        ":pending": State::Pending.as_str(),
                        ":creating": State::Creating.as_str(),
                    })?;
                }
            }
            transaction.commit()
        };
        mark(&mut connection).map_err(self.fail("mark sandboxes as running"))?;
        self.committed();
        Ok(())
    }

    /// Records that a sandbox is ending, why, and when its processes are killed; or an earlier moment for that.
    pub(crate) fn begin_ending(
        &self,
        record: &SandboxRecord,
        kill_at: SystemTime,
    ) -> Result<(), LedgerError> {
        self.update("begin an ending", record, Some(kill_at), Duration::ZERO)
    }

    /// Records the exit code of a sandbox that is ending.
    pub(crate) fn record_exit(&self, record: &SandboxRecord) -> Result<(), LedgerError> {
        self.update("record an exit", record, None, Duration::ZERO)
    }

    /// Records what has become of one that goes on: who stands for it, whether it is frozen.
    pub(crate) fn record_change(&self, record: &SandboxRecord) -> Result<(), LedgerError> {
        self.update("record a change", record, None, Duration::ZERO)
    }

    /// Records that a sandbox is kept, and forgets what of its spec is not there any more.
    pub(crate) fn record_kept(&self, record: &SandboxRecord) -> Result<(), LedgerError> {
        let forget = |connection: &Connection| {
            let spec = codec::json(&record.spec)?;
            connection
                .prepare_cached("UPDATE sandbox SET spec = ?2 WHERE id = ?1 AND ended IS NULL")?
                .execute((record.id.as_str(), spec))
        };
        // First, so that a crash in between leaves less rather than more.
        forget(&self.connection()).map_err(self.fail("forget an environment"))?;
        self.committed();
        self.checkpoint.forgotten();
        self.record_change(record)
    }

    /// Records that nothing of a sandbox is left. No verb changes its record after that. It is kept for as much
    /// `longer` than the retention.
    pub(crate) fn tombstone(&self, record: &SandboxRecord, longer: Duration) -> Result<(), LedgerError> {
        self.update("write a tombstone", record, None, longer)
    }

    /// One record.
    pub(crate) fn get(&self, id: &SandboxId) -> Result<Option<SandboxRecord>, LedgerError> {
        let found = query::get(&self.connection(), id).map_err(self.fail("read a record"))?;
        Ok(found.map(|entry| entry.record))
    }

    /// The id of the sandbox that was asked for last.
    pub(crate) fn newest(&self) -> Result<Option<SandboxId>, LedgerError> {
        query::newest(&self.connection()).map_err(self.fail("look for the newest record"))
    }

    /// Every record that is not terminal.
    pub(crate) fn live(&self) -> Result<Vec<Stored>, LedgerError> {
        query::live(&self.connection()).map_err(self.fail("read the live records"))
    }

    /// Terminal records of one principal, in the order of `cursor`.
    pub(crate) fn page(&self, cursor: &Cursor<'_>) -> Result<Vec<SandboxRecord>, LedgerError> {
        query::page(&self.connection(), cursor).map_err(self.fail("read a page"))
    }

    /// The ids of at most `limit` sandboxes that ended before `before`.
    pub(crate) fn expired(&self, before: SystemTime, limit: usize) -> Result<Vec<SandboxId>, LedgerError> {
        query::expired(&self.connection(), before, limit).map_err(self.fail("look for old records"))
    }

    /// Forgets sandboxes that have ended.
    pub(crate) fn forget_expired(&self, ids: &[SandboxId]) -> Result<(), LedgerError> {
        let mut connection = self.connection();
        let forget = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement =
                    transaction.prepare_cached("DELETE FROM sandbox WHERE id = ?1 AND ended IS NOT NULL")?;
                for id in ids {
                    statement.execute([id.as_str()])?;
                }
            }
            transaction.commit()
        };
        forget(&mut connection).map_err(self.fail("forget old records"))?;
        self.committed();
        Ok(())
    }

    /// Waits until there is something for [`Store::hand_on`].
    pub(crate) async fn hand_on_due(&self) {
        self.durable.due().await;
    }

    /// Hands what was committed on to the disk. Blocks on it.
    pub(crate) fn hand_on(&self) -> std::io::Result<()> {
        self.durable.run(self.commits.load(Ordering::Relaxed))
    }

    /// Whether a machine that loses its power now would forget nothing.
    #[cfg(test)]
    pub(crate) fn is_durable(&self) -> bool {
        self.durable.commits() == self.commits.load(Ordering::Relaxed)
    }

    /// Waits until [`Store::checkpoint`] is worth it.
    pub(crate) async fn checkpoint_due(&self) {
        self.checkpoint.due().await;
    }

    /// Moves the write-ahead log into the ledger. Blocks on the disk, and holds up nobody else.
    pub(crate) fn checkpoint(&self) -> Result<(), LedgerError> {
        self.checkpoint.run().map_err(self.fail("move the log into the ledger"))?;
        // Which may not have been possible before.
        room::reserve(&self.path);
        Ok(())
    }

    /// How many commits there were.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Counts the steps of SQLite's machine from now on.
    #[cfg(test)]
    pub(crate) fn count_steps(&self) -> std::sync::Arc<AtomicU64> {
        let steps = std::sync::Arc::<AtomicU64>::default();
        let count = std::sync::Arc::clone(&steps);
        let step = move || {
            count.fetch_add(1, Ordering::Relaxed);
            false
        };
        self.connection().progress_handler(1, Some(step)).unwrap();
        steps
    }

    /// Has every write refused, or no longer.
    #[cfg(test)]
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        self.connection().pragma_update(None, "query_only", refuse).unwrap();
    }

    /// Makes the file as good as full.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self) {
        self.connection().query_row("PRAGMA max_page_count = 1", [], |_| Ok(())).unwrap();
    }

    fn update(
        &self,
        step: &'static str,
        record: &SandboxRecord,
        kill_at: Option<SystemTime>,
        longer: Duration,
    ) -> Result<(), LedgerError> {
        let connection = self.connection();
        let run = || {
            let mut statement = connection.prepare_cached(UPDATE)?;
            let (state, reason) = (record.state.as_str(), record.reason.map(TerminationReason::as_str));
            let (started, ended) = (record.started_at.map(codec::millis), record.ended_at.map(codec::millis));
            let kill_at = kill_at.map(codec::millis);
            statement.execute(named_params! {
                ":id": record.id.as_str(),
                ":state": state,
                ":reason": reason,
                ":message": record.message,
                ":exit_code": record.exit_code,
                ":started": started,
                ":ended": ended,
                ":deadline": codec::millis(record.deadline),
                ":kill_at": kill_at,
                ":made_of": record.made_of.as_ref().map(codec::json).transpose()?,
                ":paused": record.paused.map(PauseReason::as_str),
                ":retained_from": record.ended_at.map(|ended| codec::millis(ended + longer)),
                ":ownership": codec::json(&record.ownership)?,
                ":ended_by": record.ended_by,
                ":main_end": record.main_end.as_ref().map(codec::json).transpose()?,
                ":receipt": record.receipt.as_ref().map(codec::json).transpose()?,
            })
        };
        match run().map_err(self.fail(step))? {
            0 => Err(self.no_record(&record.id)),
            _ => {
                self.committed();
                Ok(())
            }
        }
    }

    /// Makes a change that is about no sandbox.
    fn change(
        &self,
        step: &'static str,
        change: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
    ) -> Result<(), LedgerError> {
        change(&self.connection()).map_err(self.fail(step))?;
        self.committed();
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = self.is_locked.load(Ordering::Relaxed);
        // Only noted by SQLite, for the next time that it has to wait.
        let _ = connection.busy_timeout(if locked { IMPATIENCE } else { PATIENCE });
        connection
    }

    fn lock_place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room to begin something, beside what is needed to end everything.
    fn has_room(&self) -> Result<(), LedgerError> {
        if room::is_there(&self.path) { Ok(()) } else { Err(LedgerError::Full { path: self.path.clone() }) }
    }

    fn committed(&self) {
        self.is_locked.store(false, Ordering::Relaxed);
        self.checkpoint.committed(self.commits.fetch_add(1, Ordering::Relaxed) + 1);
        self.durable.committed();
    }

    fn no_record(&self, id: &SandboxId) -> LedgerError {
        LedgerError::NoRecord { path: self.path.clone(), id: id.clone() }
    }

    fn fail(&self, step: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        move |error| {
            let error = LedgerError::of(&self.path, step, &error);
            if matches!(error, LedgerError::Busy { .. }) {
                self.is_locked.store(true, Ordering::Relaxed);
            }
            error
        }
    }
}

/// All that changes of a record. A record that has ended is never touched.
const UPDATE: &str = "
UPDATE sandbox SET state = :state, reason = :reason, message = :message, exit_code = :exit_code, started = :started,
    ended = :ended, deadline = :deadline, kill_at = coalesce(:kill_at, kill_at), made_of = coalesce(:made_of, made_of),
    ownership = :ownership, ended_by = coalesce(:ended_by, ended_by), receipt = coalesce(:receipt, receipt),
    paused = :paused, retained_from = :retained_from, main_end = :main_end
WHERE id = :id AND ended IS NULL";
