//! What init does when the main command ends of a sandbox that stays then.

use std::time::{Duration, Instant, SystemTime};

use ebbtide_driver::{AtMainEnd, EndCause, EndReport};
use ebbtide_model::ExitStatus;
use rustix::io::Errno;
use rustix::process::Signal;

use super::processes::kill_everybody;
use super::server::Server;
use crate::protocol::FromInit;

/// What was asked for, and how far that is.
#[derive(Default)]
pub(super) struct MainEnd {
    pub(super) wish: AtMainEnd,
    /// How it ended, where the sandbox stays.
    pub(super) report: Option<EndReport>,
    /// When, by a clock that nobody sets.
    at: Option<Instant>,
    /// The connections that wait for it.
    waiting: Vec<usize>,
}

impl Server {
    /// The main command has ended and the sandbox does not: that is on record first, and then everything else is killed, so
    /// that who is told finds nothing that still changes.
    pub(super) fn stay(&mut self, exit: ExitStatus, cause: EndCause, at_most: Duration) {
        self.outlives_main = true;
        self.main_end.report = Some(EndReport { cause, exit: Some(exit), at: SystemTime::now() });
        self.main_end.at = Some(Instant::now());
        self.note_run();
        self.armed.stay(at_most, cause);
        self.arm_grace();
        self.clearing.get_or_insert_default();
        kill_everybody(Signal::KILL);
        self.thaw(&FromInit::PauseFailed(Errno::CANCELED.raw_os_error()));
        // There may have been nobody else.
        self.reap();
    }

    /// Tells a connection once the main command has ended and nothing else is left.
    pub(super) fn await_main(&mut self, index: usize) {
        self.main_end.waiting.push(index);
        if self.clearing.is_none() {
            self.tell_main_end();
        }
    }

    /// Tells whoever waits for it how the main command has ended, if it has.
    pub(super) fn tell_main_end(&mut self) {
        let Some(report) = self.main_end.report else { return };
        self.commands.drain();
        let ago = self.main_end.at.map(|at| at.elapsed()).unwrap_or_default();
        for index in std::mem::take(&mut self.main_end.waiting) {
            self.answer(index, &FromInit::MainEnded { report, ago });
        }
    }

    /// Forgets a connection that is gone; its number may be another's soon.
    pub(super) fn forget_waiting(&mut self, index: usize) {
        self.main_end.waiting.retain(|waiting| *waiting != index);
    }
}
