//! The dead man's switch: who has to be alive for the sandbox to go on, and until when it lives without.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ebbtide_driver::EndCause;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::server::{OWNER, Server};
use crate::protocol::Switch;

/// The least time for which a daemon may be silent that has begun to say that it is there: it may be busy.
const SILENCE: Duration = Duration::from_secs(10);
/// An init that runs hears within this that a time has come.
const LATE: Duration = Duration::from_secs(1);

/// Who has to be alive.
enum Holder {
    /// A process, by its pidfd: a child that it has forked is not taken for it.
    Process(OwnedFd),
    /// A daemon, by the number of the connection that it keeps open.
    Connection(usize),
}

/// The switch as it is set.
pub(super) struct Armed {
    /// Whoever lives. With nobody it is off, or the grace runs.
    holder: Option<Holder>,
    grace: Duration,
    cause: EndCause,
    /// When the grace that runs is over, or the holder has been silent for too long.
    deadline: Option<Instant>,
    /// Until when it stays after its main command's end, and the cause of that. Any other switch goes before this.
    stays_until: Option<(Instant, EndCause)>,
}

impl Armed {
    pub(super) fn off() -> Self {
        let (grace, cause) = (Duration::ZERO, EndCause::OwnerGone);
        Self { holder: None, grace, cause, deadline: None, stays_until: None }
    }

    /// When it ends the sandbox, as things are.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.stays_until.map(|(until, _)| until)).min()
    }

    /// What ends the sandbox if a time is over by now. An init that hears of that late was stopped itself: it first
    /// reads what it was told meanwhile, which may be of a new owner.
    pub(super) fn due(&mut self, now: Instant) -> Option<EndCause> {
        let cause = self.cause;
        let grace = self.deadline.as_mut().map(|at| (at, cause));
        let stays = self.stays_until.as_mut().map(|(until, cause)| (until, *cause));
        for (at, cause) in grace.into_iter().chain(stays) {
            let Some(late) = now.checked_duration_since(*at) else { continue };
            if late <= LATE {
                return Some(cause);
            }
            *at = now + LATE;
        }
        None
    }

    /// Ends the sandbox after this time, unless another switch is set by then.
    pub(super) fn stay(&mut self, at_most: Duration, cause: EndCause) {
        self.stays_until = Instant::now().checked_add(at_most).map(|until| (until, cause));
    }

    fn begin_grace(&mut self) {
        self.holder = None;
        self.deadline = Some(Instant::now() + self.grace);
    }
}

impl Server {
    /// Sets the switch; a grace that ran ends. `index` is the connection that asked, `pidfd` the owner's.
    pub(super) fn arm(&mut self, switch: Switch, index: usize, pidfd: Option<OwnedFd>) {
        let again = self.connections.arms_again(index);
        if let Switch::Connection { grace } = switch
            && again
        {
            // A daemon that says so again goes on with that: one that is stopped falls silent. Of a connection that is
            // not the holder any more it is a word that came late: somebody else has been named since.
            if matches!(self.armed.holder, Some(Holder::Connection(holder)) if holder == index) {
                self.armed.deadline = Some(Instant::now() + grace.max(SILENCE));
                self.arm_grace();
            }
            return;
        }
        if let Some(Holder::Process(old)) = &self.armed.holder {
            let _ = epoll::delete(&self.epoll, old);
        }
        self.armed = Armed::off();
        match switch {
            Switch::Off => {}
            Switch::Process { grace } => {
                self.armed.grace = grace;
                match pidfd {
                    Some(pidfd) if self.watch(&pidfd, OWNER).is_ok() => {
                        self.armed.holder = Some(Holder::Process(pidfd));
                    }
                    // Nobody who could be watched.
                    _ => self.armed.begin_grace(),
                }
            }
            Switch::Dead { grace } => {
                self.armed.grace = grace;
                self.armed.begin_grace();
            }
            Switch::Connection { grace } => {
                let holder = Some(Holder::Connection(index));
                self.armed = Armed { holder, grace, cause: EndCause::DaemonGone, ..Armed::off() };
            }
        }
        self.arm_grace();
    }

    /// Takes note of an owner's death.
    pub(super) fn owner_event(&mut self) {
        // Asked again: the event may be of an owner that has been replaced in the same breath.
        if let Some(Holder::Process(pidfd)) = &self.armed.holder
            && has_ended(pidfd)
        {
            let _ = epoll::delete(&self.epoll, pidfd);
            self.armed.begin_grace();
            self.arm_grace();
        }
    }

    /// Before a holder counts as silent: what it has said is heard, and what it could not say while init itself stood still
    /// is not missed.
    pub(super) fn hear_holder(&mut self, now: Instant) {
        let (Some(Holder::Connection(index)), Some(deadline)) = (&self.armed.holder, self.armed.deadline)
        else {
            return;
        };
        if deadline + LATE <= now {
            self.armed.deadline = Some(now + self.armed.grace.max(SILENCE));
        } else if deadline <= now {
            self.request(*index);
        }
    }

    /// Takes note of a connection that is gone.
    pub(super) fn connection_lost(&mut self, index: usize) {
        if matches!(self.armed.holder, Some(Holder::Connection(holder)) if holder == index) {
            self.armed.begin_grace();
            self.arm_grace();
        }
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)], Some(&now)), Ok(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_that_is_over_ends_it_and_one_that_was_slept_through_a_moment_later() {
        let begun = Instant::now();
        let over = begun + Duration::from_secs(60);
        let mut armed = Armed { deadline: Some(over), ..Armed::off() };
        assert_eq!(armed.due(begun), None);
        assert_eq!(armed.due(over), Some(EndCause::OwnerGone));
        let stopped_until = over + Duration::from_secs(120);
        assert_eq!(armed.due(stopped_until), None);
        assert_eq!(armed.due(stopped_until + LATE), Some(EndCause::OwnerGone));
        assert_eq!(Armed::off().due(stopped_until), None);
        let stays_until = Some((over, EndCause::MainExited));
        let mut staying = Armed { deadline: Some(stopped_until), stays_until, ..Armed::off() };
        assert_eq!((staying.next(), staying.due(over)), (Some(over), Some(EndCause::MainExited)));
    }
}
