//! What is done, and when: each step follows from the seed and its number alone, so that any stretch can be run again.

use std::fmt;
use std::time::Duration;

/// How many steps there are between two looks at everything.
pub(crate) const ROUND: u64 = 600;

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
    Create = "create", 60;
    /// A program that owns its sandbox is started. No fault.
    Run = "run", 8;
    KillOwner = "owner killed (-9)", 40;
    TermOwner = "owner terminated (SIGTERM)", 8;
    StopOwner = "owner stopped (SIGSTOP)", 16;
    ContinueOwner = "owner continued (SIGCONT)", 10;
    KillInit = "init killed (-9)", 14;
    TermInit = "init terminated (SIGTERM)", 12;
    StopInit = "init stopped (SIGSTOP)", 12;
    KillSpare = "spare init killed (-9)", 4;
    KillPayload = "main command killed (-9)", 10;
    KillDaemon = "daemon killed (-9)", 2;
    TermDaemon = "daemon terminated (SIGTERM)", 1;
    StopDaemon = "daemon stopped (SIGSTOP)", 2;
    FailDaemon = "daemon dies at a named step", 1;
    KillLauncher = "launcher killed (-9)", 2;
    TermLauncher = "launcher terminated (SIGTERM)", 1;
    StopLauncher = "launcher stopped (SIGSTOP)", 2;
    KillBoth = "daemon and launcher killed (-9)", 1;
    KillAll = "daemon, launcher, an init and its owner killed (-9)", 1;
    KillExec = "client killed (-9) in the middle of an exec", 8;
    KillCreate = "client killed (-9) in the middle of a create", 8;
    CutConnection = "connection cut in the middle of a message", 24;
    StopTwice = "stopped by two callers at once", 8;
    Purge = "purged", 2;
    Replace = "program replaced under live sandboxes", 1;
}

impl Action {
    /// Whether it is something that goes wrong.
    pub(crate) fn is_fault(self) -> bool {
        !matches!(self, Self::Create | Self::Run)
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
    // A round begins with something to do it to.
    let early = number % ROUND < 20;
    Step {
        number,
        action: if early { Action::Create } else { chosen.map_or(Action::Create, |(action, _)| *action) },
        pick: random.usize(..1 << 30),
        pause: Duration::from_millis(random.u64(20..600)),
        then: Duration::from_millis(random.u64(0..40)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {} [{}]", self.number, self.action.as_str(), self.pick % 1000)
    }
}
