//! The changes of a sandbox that goes on: who stands for it, and whether it is frozen.
//!
//! Each is made by whoever holds [`Sandbox::changing`], since the driver is told of it too, and two of them must not
//! overtake each other between the driver and the record. One that is ending is past all of this.

use ebbtide_model::{Event, Holder, KeepAs, MainEnd, Ownership, PauseReason, SandboxRecord, State};

use tokio::time::Instant;

use crate::LedgerError;
use crate::events::EventKind;
use crate::sandbox::Sandbox;
use crate::store::Store;

impl Sandbox {
    /// It is frozen. Without effect on one that does not run.
    pub(crate) fn paused(&self, store: &Store, why: PauseReason) -> Result<SandboxRecord, LedgerError> {
        self.change(store, |record| {
            if let Ok(state) = record.state.after(Event::Paused) {
                record.state = state;
                record.paused = Some(why);
            }
        })
    }

    /// It goes on. Without effect on one that is not frozen.
    pub(crate) fn resumed(&self, store: &Store) -> Result<SandboxRecord, LedgerError> {
        self.change(store, |record| {
            if let Ok(state) = record.state.after(Event::Resumed) {
                record.state = state;
                record.paused = None;
                self.waits_anew();
            }
        })
    }

    /// It is kept, as `ownership` says of who stood for it last. The values of its environment are forgotten, which may
    /// be secrets of an owner who is gone: they are in the sandbox, and need to be nowhere else. `main_end` is how its main
    /// command ended, where that is why.
    pub(crate) fn keep(
        &self,
        store: &Store,
        what: KeepAs,
        main_end: Option<MainEnd>,
        ownership: impl FnOnce(Option<Holder>) -> Ownership,
    ) -> Result<SandboxRecord, LedgerError> {
        self.transition(|record| {
            if !record.state.is_alive() {
                return Ok(());
            }
            (record.state, record.paused) = match what {
                KeepAs::Running => (record.state, record.paused),
                KeepAs::Paused => (State::Paused, Some(PauseReason::Kept)),
                KeepAs::Files => (State::Running, None),
            };
            if let Some(end) = main_end {
                record.main_end = Some(end);
                record.exit_code = Some(end.exit_code);
            }
            record.ownership = ownership(record.ownership.holder().cloned());
            record.spec.main.env.values_mut().for_each(String::clear);
            store.record_kept(record)
        })
    }

    /// Its time without use begins now.
    pub(crate) fn waits_anew(&self) {
        self.uses.send_modify(|uses| uses.since = Instant::now());
    }

    /// Makes `change`, durably and then for everybody to see, if there is any.
    pub(crate) fn change(
        &self,
        store: &Store,
        change: impl FnOnce(&mut SandboxRecord),
    ) -> Result<SandboxRecord, LedgerError> {
        self.transition(|record| {
            let before = record.clone();
            change(record);
            if *record == before { Ok(()) } else { store.record_change(record) }
        })
    }
}

/// What there is to tell about a change of who stands for a sandbox, with words.
pub(crate) fn told(before: &Ownership, after: &Ownership) -> Option<(EventKind, String)> {
    match after {
        _ if before == after => None,
        Ownership::Orphaned { why, .. } if !before.is_orphaned() => {
            Some((EventKind::Orphaned(*why), after.to_string()))
        }
        Ownership::Kept { why, .. } => Some((EventKind::Kept, why.clone())),
        Ownership::Owned { by, .. } if before.is_adoptable() || before.holder() != Some(by) => {
            Some((EventKind::Adopted, after.to_string()))
        }
        _ => None,
    }
}

/// What there is to tell about a sandbox that was frozen or thawed; `None` for any other change of its state.
pub(crate) fn frozen(before: State, record: &SandboxRecord) -> Option<EventKind> {
    match (before, record.state) {
        (State::Running, State::Paused) => {
            Some(EventKind::Paused(record.paused.unwrap_or(PauseReason::Asked)))
        }
        (State::Paused, State::Running) => Some(EventKind::Resumed),
        _ => None,
    }
}
