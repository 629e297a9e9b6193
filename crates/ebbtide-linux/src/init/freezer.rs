//! Freezing the payload, thawing it, and ending it alone. Init is in a cgroup beside it: its clocks go on, and what ends a sandbox ends
//! a frozen one, too, since the kernel lets frozen processes be killed.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Signal;

use super::processes::kill_everybody;
use super::server::{FREEZER, Server};
use crate::protocol::FromInit;

/// How long the kernel may take: a process that is busy in it freezes on its way out.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Freezer {
    file: OwnedFd,
    state: State,
}

enum State {
    Thawed,
    Freezing {
        /// `cgroup.events`, which tells when it is done.
        events: OwnedFd,
        deadline: Instant,
        /// The connections that wait for it.
        waiting: Vec<usize>,
    },
    Frozen,
}

impl Freezer {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file, state: State::Thawed }
    }

    /// Whether nothing may be started: what is born into a frozen cgroup would never get as far as its program, and init
    /// would wait for that.
    pub(super) fn is_closed(&self) -> bool {
        !matches!(self.state, State::Thawed)
    }

    /// When a freezing that goes on has failed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Freezing { deadline, .. } => Some(deadline),
            State::Thawed | State::Frozen => None,
        }
    }

    fn write(&self, value: &[u8]) -> Result<(), Errno> {
        rustix::io::pwrite(&self.file, value, 0).map(drop)
    }
}

impl Server {
    /// Begins to freeze the payload; whoever asks is answered once it is frozen.
    pub(super) fn pause(&mut self, index: usize) {
        match &mut self.freezer.state {
            State::Frozen => return self.answer(index, &FromInit::Done),
            State::Freezing { waiting, .. } => return waiting.push(index),
            State::Thawed => {}
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let begun =
            openat(self.commands.cgroup(), "cgroup.events", flags, Mode::empty()).and_then(|events| {
                epoll::add(&self.epoll, &events, epoll::EventData::new_u64(FREEZER), epoll::EventFlags::PRI)?;
                self.freezer.write(b"1").map(|()| events)
            });
        match begun {
            Ok(events) => {
                let deadline = Instant::now() + PATIENCE;
                self.freezer.state = State::Freezing { events, deadline, waiting: vec![index] };
                self.arm_grace();
                self.freezer_event();
            }
            Err(errno) => self.answer(index, &FromInit::PauseFailed(errno.raw_os_error())),
        }
    }

    /// Looks whether the payload is frozen by now.
    pub(super) fn freezer_event(&mut self) {
        let State::Freezing { events, .. } = &self.freezer.state else { return };
        if !says_frozen(events) {
            return;
        }
        let waiting = self.end_freezing(State::Frozen);
        self.note_run();
        for index in waiting {
            self.answer(index, &FromInit::Done);
        }
    }

    /// Gives up a freezing that has taken too long: the payload runs on.
    pub(super) fn check_freezing(&mut self, now: Instant) {
        if self.freezer.deadline().is_some_and(|deadline| deadline <= now) {
            self.thaw(&FromInit::PauseFailed(Errno::TIMEDOUT.raw_os_error()));
        }
    }

    pub(super) fn resume(&mut self, index: usize) {
        self.thaw(&FromInit::PauseFailed(Errno::CANCELED.raw_os_error()));
        self.answer(index, &FromInit::Done);
    }

    /// Lets the payload go on; whoever waits for it to be frozen is answered with `refusal`.
    pub(super) fn thaw(&mut self, refusal: &FromInit) {
        if !self.freezer.is_closed() {
            return;
        }
        let _ = self.freezer.write(b"0");
        let waiting = self.end_freezing(State::Thawed);
        if !self.stopping() {
            self.note_run();
        }
        for index in waiting {
            self.answer(index, refusal);
        }
    }

    /// Kills every process and goes on without; whoever asks is answered once they are gone.
    pub(super) fn end_processes(&mut self, index: usize) {
        self.outlives_main = true;
        self.clearing.get_or_insert_default().push(index);
        kill_everybody(Signal::KILL);
        self.thaw(&FromInit::PauseFailed(Errno::CANCELED.raw_os_error()));
        // There may have been nobody.
        self.reap();
    }

    /// Leaves a state for another; answers who waited in it.
    fn end_freezing(&mut self, next: State) -> Vec<usize> {
        match std::mem::replace(&mut self.freezer.state, next) {
            State::Freezing { events, waiting, .. } => {
                let _ = epoll::delete(&self.epoll, &events);
                waiting
            }
            State::Thawed | State::Frozen => Vec::new(),
        }
    }
}

/// Read from the start each time, which also has the kernel tell of the next change.
fn says_frozen(events: &OwnedFd) -> bool {
    let mut buffer = [0; 256];
    let read = rustix::io::pread(events, &mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..read]).lines().any(|line| line == "frozen 1")
}
