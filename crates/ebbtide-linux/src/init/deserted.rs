//! An init that nobody has claimed, and whose launcher has died: nobody will come for it. A new launcher makes inits of
//! its own.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::server::{PULSE, Server};

/// How long it waits for a request that may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an init without a request waits for.
pub(super) enum Unclaimed {
    /// Its request, or the end of this pipe, which comes with the launcher's.
    Watching(OwnedFd),
    /// Its request, until this time.
    Deserted(Instant),
    /// It has its request, and minds its launcher no more.
    Claimed,
}

impl Unclaimed {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Deserted(until) => Some(*until),
            Self::Watching(_) | Self::Claimed => None,
        }
    }
}

impl Server {
    pub(super) fn watch_launcher(&self) -> rustix::io::Result<()> {
        match &self.unclaimed {
            Unclaimed::Watching(pulse) => self.watch(pulse, PULSE),
            Unclaimed::Deserted(_) | Unclaimed::Claimed => Ok(()),
        }
    }

    pub(super) fn launcher_died(&mut self) {
        self.forget_launcher(Unclaimed::Deserted(Instant::now() + PATIENCE));
        self.arm_grace();
    }

    /// Takes note of the request.
    pub(super) fn claimed(&mut self) {
        self.forget_launcher(Unclaimed::Claimed);
    }

    fn forget_launcher(&mut self, next: Unclaimed) {
        match std::mem::replace(&mut self.unclaimed, next) {
            Unclaimed::Watching(pulse) => {
                let _ = epoll::delete(&self.epoll, &pulse);
            }
            // An event of the same breath as the request: what was is what counts.
            before @ Unclaimed::Claimed => self.unclaimed = before,
            Unclaimed::Deserted(_) => {}
        }
    }

    /// Whether nobody has come in time.
    pub(super) fn is_deserted(&self) -> bool {
        self.unclaimed.deadline().is_some_and(|until| until <= Instant::now())
    }
}
