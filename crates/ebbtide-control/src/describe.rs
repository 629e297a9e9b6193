//! All that is known of a sandbox: its record, what will end it, whether it is used.

use std::time::SystemTime;

use ebbtide_model::{Principal, SandboxRecord};

use crate::deadlines::{self, Deadline};
use crate::engine::Found;
use crate::sandbox::Sandbox;
use crate::{Control, ControlError, idle};

/// All that is known of a sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its record.
    pub record: SandboxRecord,
    /// What will end it or change what it is, the first to come first. Empty for one that has ended.
    pub deadlines: Vec<Deadline>,
    /// What goes on in it: commands that run by exec, files that are copied.
    pub active: u32,
    /// When it was last used, as far as this daemon knows.
    pub last_active_at: Option<SystemTime>,
}

impl Described {
    pub(crate) fn live(sandbox: &Sandbox) -> Self {
        let (record, uses) = (sandbox.record(), *sandbox.uses.borrow());
        let time = &sandbox.time;
        let idle_at = idle::due_at(sandbox, &uses).map(|at| time.of_instant(at));
        let kill_at = time.of_instant(*sandbox.kill_at().borrow());
        let mut deadlines = deadlines::of(&record, idle_at, kill_at);
        deadlines.iter_mut().for_each(|deadline| deadline.at = time.shown(deadline.at));
        Self {
            deadlines,
            record: time.shown_record(record),
            active: uses.active,
            last_active_at: uses.last.map(|at| time.shown(at)),
        }
    }

    pub(crate) fn ended(record: SandboxRecord) -> Self {
        Self { record, deadlines: Vec::new(), active: 0, last_active_at: None }
    }
}

impl Control {
    /// All that is known of one sandbox.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn describe(&self, principal: &Principal, id: &str) -> Result<Described, ControlError> {
        Ok(match self.engine().find(principal, id)? {
            Found::Live(sandbox) => Described::live(&sandbox),
            Found::Ended(record) => Described::ended(self.shown(*record)),
        })
    }

    /// All that is known of the sandbox that a record was answered of before.
    pub fn describe_record(&self, record: SandboxRecord) -> Described {
        let live = self.engine().live().get(&record.id).map(std::sync::Arc::clone);
        live.map_or_else(|| Described::ended(record), |sandbox| Described::live(&sandbox))
    }
}
