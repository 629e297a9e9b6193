//! What is done, and when: each step follows from the seed and its number alone, so that any stretch can be run again, and
//! any part of it.

use std::fmt;
use std::time::Duration;

use super::policy::Policy;

/// How many steps there are between two looks at everything.
pub(crate) const ROUND: u64 = 1500;

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Its number.
    pub(crate) number: u64,
    /// What is done.
    pub(crate) action: Action,
    /// Picks the one that it is done to, among those there are then.
    pub(crate) pick: usize,
    /// How long what is stopped stays so.
    pub(crate) pause: Duration,
    /// How long until the next step.
    pub(crate) then: Duration,
    /// What a sandbox that is made asks for.
    pub(crate) policy: Policy,
}

macro_rules! actions {
    ($($(#[$about:meta])* $name:ident = $text:literal, $weight:literal;)*) => {
        /// What can be done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Action { $($(#[$about])* $name,)* }

        impl Action {
            /// All of them, with how often each is done.
            const ALL: &'static [(Self, usize)] = &[$((Self::$name, $weight),)*];

            /// What it is called in a record.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

// A daemon takes a while to start; one that is killed more often than about once a second does nothing else.
actions! {
    /// A sandbox is tied to a process and made. No fault.
    Create = "sandbox made by ebb create", 60;
    /// A command that owns its sandbox is started. No fault.
    Run = "sandbox made by ebb run", 8;
    /// A program is started that owns what it is told to, here or elsewhere. No fault.
    Hold = "program started that holds a lease", 8;
    /// Such a program makes a sandbox. No fault.
    Make = "sandbox made under a lease", 34;
    /// No fault.
    Detach = "detached", 6;
    /// No fault.
    Pause = "paused", 8;
    /// No fault.
    Resume = "resumed", 6;
    KillOwner = "owner killed (-9)", 44;
    TermOwner = "owner terminated (SIGTERM)", 8;
    StopOwner = "owner stopped (SIGSTOP)", 16;
    ContinueOwner = "owner continued (SIGCONT)", 10;
    AdoptTwice = "adopted by two at once", 16;
    KillInit = "init killed (-9)", 14;
    TermInit = "init terminated (SIGTERM)", 12;
    StopInit = "init stopped (SIGSTOP)", 12;
    KillSpare = "spare init killed (-9)", 4;
    KillPayload = "main command killed (-9)", 10;
    KillDaemon = "daemon killed (-9)", 2;
    TermDaemon = "daemon terminated (SIGTERM)", 1;
    StopDaemon = "daemon stopped (SIGSTOP)", 2;
    FailDaemon = "daemon dies at a named step", 6;
    StarveDaemon = "daemon without descriptors for a moment", 4;
    LockLedger = "ledger locked by another process for a moment", 4;
    FillDisk = "disk full for a moment", 3;
    KillLauncher = "launcher killed (-9)", 2;
    TermLauncher = "launcher terminated (SIGTERM)", 1;
    StopLauncher = "launcher stopped (SIGSTOP)", 2;
    KillBoth = "daemon and launcher killed (-9)", 1;
    KillAll = "daemon, launcher, an init and its owner killed (-9)", 1;
    KillExec = "client killed (-9) in the middle of an exec", 8;
    KillCreate = "client killed (-9) in the middle of a create", 8;
    CutConnection = "connection cut in the middle of a message", 24;
    ResetNetwork = "every connection of the network reset", 5;
    SilenceNetwork = "network silent for a moment", 5;
    StopTwice = "stopped by two callers at once", 8;
    Purge = "purged", 3;
    Replace = "program replaced under live sandboxes", 1;
}

impl Action {
    /// Whether it is something that goes wrong.
    pub(crate) fn is_fault(self) -> bool {
        use Action::{Create, Detach, Hold, Make, Pause, Resume, Run};
        !matches!(self, Create | Run | Hold | Make | Detach | Pause | Resume)
    }
}

/// The step with this number of a seed's schedule.
pub(crate) fn step(seed: u64, number: u64) -> Step {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let total: usize = Action::ALL.iter().map(|(_, weight)| weight).sum();
    let mut at = random.usize(..total);
    let chosen = Action::ALL.iter().find(|(_, weight)| {
        let here = at < *weight;
        at = at.saturating_sub(*weight);
        here
    });
    let action = match number % ROUND {
        // A round begins with something to do it to.
        0..4 => Action::Hold,
        4..24 => [Action::Create, Action::Make][usize::from(number.is_multiple_of(2))],
        _ => chosen.map_or(Action::Create, |(action, _)| *action),
    };
    Step {
        number,
        action,
        pick: random.usize(..1 << 30),
        pause: Duration::from_millis(random.u64(20..600)),
        then: Duration::from_millis(random.u64(0..32)),
        policy: Policy::of(&mut random),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {} [{}]", self.number, self.action.as_str(), self.pick % 1000)?;
        match self.action {
            Action::Create | Action::KillCreate | Action::Make => {
                write!(f, " {}", self.policy.options().join(" "))
            }
            _ => Ok(()),
        }
    }
}
