//! What is known of one sandbox.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{
    HOST_IMAGE, Ownership, PauseReason, Policy, Principal, Receipt, SandboxId, SandboxSpec, State,
    TerminationReason,
};

/// How the main command of a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It returned this code, 0 to 255.
    Code(u8),
    /// It was ended by this signal.
    Signal(u8),
}

impl ExitStatus {
    /// The exit code as a shell reports it: the code, or 128 plus the signal.
    ///
    /// ```
    /// assert_eq!(ebbtide_model::ExitStatus::Signal(9).code(), 137);
    /// ```
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + i32::from(signal),
        }
    }
}

/// The image that a sandbox was made of, as its name was understood then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOf {
    /// The digest of the image's manifest, `sha256:...`; `None` for the host's own programs.
    pub digest: Option<String>,
    /// The image's own command: its entrypoint with its arguments. Empty if it has none.
    pub command: Vec<String>,
}

/// How the main command of a sandbox ended that was kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainEnd {
    /// Why the sandbox would have ended: [`TerminationReason::MainExited`] or [`TerminationReason::OutOfMemory`].
    pub reason: TerminationReason,
    /// The exit code.
    pub exit_code: i32,
    /// When.
    pub at: SystemTime,
}

/// The ledger's record of one sandbox: what was asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// The id.
    pub id: SandboxId,
    /// Whom it belongs to.
    pub principal: Principal,
    /// What was asked for.
    pub spec: SandboxSpec,
    /// Who stands for it.
    pub ownership: Ownership,
    /// What is to become of it when nobody ends it.
    pub policy: Policy,
    /// Where it is in its life.
    pub state: State,
    /// Why it is frozen, where it is.
    pub paused: Option<PauseReason>,
    /// Why it ended, or why it is ending. `None` while nothing ends it.
    pub reason: Option<TerminationReason>,
    /// Words for a person beside the reason, e.g. the error of a failed create. May be empty.
    pub message: String,
    /// The exit code of the main command, set only when it is known.
    pub exit_code: Option<i32>,
    /// How its main command ended, where the sandbox was kept all the same: its files can be read until it ends.
    pub main_end: Option<MainEnd>,
    /// When the create was accepted.
    pub created_at: SystemTime,
    /// When it began to run.
    pub started_at: Option<SystemTime>,
    /// When the last of its resources was released.
    pub ended_at: Option<SystemTime>,
    /// When its lifetime is over.
    pub deadline: SystemTime,
    /// The boot of the machine that it was made in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The image that it was made of; `None` until that is known.
    pub made_of: Option<MadeOf>,
    /// Who ended it, in words, where somebody did.
    pub ended_by: Option<String>,
    /// What its end released; `None` until that is over, and where nobody saw it.
    pub receipt: Option<Receipt>,
    /// The caller's id of the create request, empty if it gave none.
    pub request_id: String,
}

impl SandboxRecord {
    /// The same with each time as `changed` has it.
    pub fn with_times(self, changed: impl Fn(SystemTime) -> SystemTime) -> Self {
        Self {
            created_at: changed(self.created_at),
            started_at: self.started_at.map(&changed),
            ended_at: self.ended_at.map(&changed),
            main_end: self.main_end.map(|end| MainEnd { at: changed(end.at), ..end }),
            deadline: changed(self.deadline),
            ownership: self.ownership.with_times(&changed),
            ..self
        }
    }

    /// Whether it has no main command, so that it idles until it is stopped. One whose image was never looked at counts
    /// as one that has a command.
    pub fn idles(&self) -> bool {
        let asked_for_none = self.spec.main.argv.is_empty() && self.spec.args.is_empty();
        let image_has_none = || self.made_of.as_ref().is_some_and(|image| image.command.is_empty());
        asked_for_none && (self.spec.must_idle() || self.spec.image == HOST_IMAGE || image_has_none())
    }

    /// Its state as any client of the public protocol is to see it. One that was kept after its main command's end has
    /// completed, and stays so: whoever waits for that command waits no longer.
    pub fn shown_state(&self) -> State {
        match self.main_end {
            Some(_) if !self.state.is_terminal() => State::Completed,
            _ => self.state,
        }
    }

    /// Whether there is nothing to wait for: it has ended, or is kept after its main command's end and nobody has asked for
    /// its own.
    pub fn is_over(&self) -> bool {
        self.state.is_terminal() || (self.main_end.is_some() && self.state != State::Terminating)
    }
}
