//! The event loop of an init: one thread, no wait but the one in epoll.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Instant, SystemTime};

use ebbtide_driver::{EndCause, EndReport, FileError};
use ebbtide_model::ExitStatus;
use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};

use super::commands::Commands;
use super::deadlines::Timer;
use super::deserted::Unclaimed;
use super::freezer::Freezer;
use super::host_shutdown::HostInit;
use super::identity::Identity;
use super::main_end::MainEnd;
use super::memory::Kills;
use super::processes::none_left;
use super::requests::{Connection, Connections};
use super::spawn::Cage;
use super::switch::Armed;
use super::{mounted, names, processes};
use crate::protocol::{FromInit, SpawnError, Start};
use crate::run_record::{End, Run, RunRecord};
use crate::sys::SignalFd;
use crate::sys_error::{Step, SysError};

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const LIFETIME: u64 = 2;
const GRACE: u64 = 3;
pub(super) const OWNER: u64 = 4;
pub(super) const MAIN_STDOUT: u64 = 5;
pub(super) const MAIN_STDERR: u64 = 6;
pub(super) const FREEZER: u64 = 7;
pub(super) const PULSE: u64 = 8;
/// The first token of a connection.
const CONNECTION: u64 = 16;

/// Why a request could not be carried out.
pub(super) enum StartError {
    Spawn(SpawnError),
    Mount(FileError),
    UnknownUser,
}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<FileError> for StartError {
    fn from(error: FileError) -> Self {
        Self::Mount(error)
    }
}

/// What the server works with besides its socket.
pub(super) struct Resources {
    pub(super) record: File,
    pub(super) cage: Cage,
    pub(super) freeze: OwnedFd,
    pub(super) memory: Kills,
    pub(super) pulse: OwnedFd,
    pub(super) host_init: HostInit,
}

pub(super) struct Server {
    pub(super) epoll: OwnedFd,
    listener: OwnedFd,
    signals: SignalFd,
    lifetime: Timer,
    grace: Timer,
    record: File,
    pub(super) commands: Commands,
    pub(super) connections: Connections,
    pub(super) armed: Armed,
    pub(super) freezer: Freezer,
    memory: Kills,
    pub(super) unclaimed: Unclaimed,
    /// Whether the main command's end is no end of the sandbox any more.
    pub(super) outlives_main: bool,
    pub(super) main_end: MainEnd,
    /// The connections that wait until no process is left.
    pub(super) clearing: Option<Vec<usize>>,
    /// How many there are in its mount namespace.
    mounts: u32,
    stop_deadline: Option<Instant>,
    /// What a stop is recorded as.
    pub(super) stop_cause: EndCause,
    pub(super) host_init: HostInit,
    /// Set once everything is to end, with the cause.
    over: Option<EndCause>,
}

impl Server {
    pub(super) fn new(listener: OwnedFd, resources: Resources) -> Result<Self, SysError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).step(|| "make an epoll".to_owned())?;
        let signals = SignalFd::new(&[libc::SIGCHLD, libc::SIGTERM]).step(|| "receive signals".to_owned())?;
        let (lifetime, grace) = (Timer::lifetime()?, Timer::grace()?);
        let server = Self {
            epoll,
            listener,
            signals,
            lifetime,
            grace,
            record: resources.record,
            commands: Commands::new(resources.cage),
            connections: Connections::default(),
            armed: Armed::off(),
            freezer: Freezer::new(resources.freeze),
            memory: resources.memory,
            unclaimed: Unclaimed::Watching(resources.pulse),
            outlives_main: false,
            main_end: MainEnd::default(),
            clearing: None,
            mounts: 0,
            stop_deadline: None,
            stop_cause: EndCause::Stopped,
            host_init: resources.host_init,
            over: None,
        };
        for (source, token) in [
            (server.listener.as_fd(), LISTENER),
            (server.signals.as_fd(), SIGNALS),
            (server.lifetime.as_fd(), LIFETIME),
            (server.grace.as_fd(), GRACE),
        ] {
            server.watch(source, token).step(|| "watch a descriptor".to_owned())?;
        }
        server.watch_launcher().step(|| "watch the launcher".to_owned())?;
        Ok(server)
    }

    pub(super) fn watch(&self, source: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
    }

    /// Serves until the sandbox is over; answers the process's exit code.
    pub(super) fn run(mut self) -> i32 {
        // Now, while nobody waits for it.
        self.mounts = count_mounts();
        let mut events = Vec::with_capacity(32);
        while self.over.is_none() {
            if self.is_deserted() {
                return 0;
            }
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return 70,
            }
            for event in events.drain(..) {
                self.dispatch(event.data.u64());
            }
        }
        self.finish()
    }

    fn dispatch(&mut self, token: u64) {
        match token {
            LISTENER => self.accept(),
            SIGNALS => self.signalled(),
            LIFETIME => self.over = Some(EndCause::LifetimeExpired),
            GRACE => self.check_graces(),
            OWNER => self.owner_event(),
            FREEZER => self.freezer_event(),
            PULSE => self.launcher_died(),
            MAIN_STDOUT | MAIN_STDERR => self.commands.keep_output(token, &self.epoll),
            token => self.request((token - CONNECTION) as usize),
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(&self.listener, flags) {
            let index = self.connections.insert(Connection::new(socket));
            let watched = self
                .connections
                .get(index)
                .map(|connection| self.watch(&connection.socket, CONNECTION + index as u64));
            if !matches!(watched, Some(Ok(()))) {
                self.connections.remove(index);
            }
        }
    }

    fn signalled(&mut self) {
        let mut terminated = false;
        while let Some(signal) = self.signals.next() {
            terminated |= signal == libc::SIGTERM;
        }
        // First: the same shutdown may have ended the main command.
        if terminated {
            self.terminated();
        }
        self.reap();
    }

    /// Takes note of every process that has ended.
    pub(super) fn reap(&mut self) {
        for (ended, status) in self.commands.reap() {
            self.connections.tell_exit(ended, status);
        }
        if self.clearing.is_some() && none_left() {
            for index in self.clearing.take().unwrap_or_default() {
                self.answer(index, &FromInit::Done);
            }
            self.tell_main_end();
        }
        if let Some(exit) = self.commands.main_exit().filter(|_| !self.outlives_main) {
            let cause = if self.stopping() {
                self.stop_cause
            } else if exit == ExitStatus::Signal(libc::SIGKILL as u8) && self.memory.any() {
                EndCause::OutOfMemory
            } else {
                EndCause::MainExited
            };
            match self.main_end.wish.stays(exit) {
                Some(at_most) if !self.stopping() && self.over.is_none() => {
                    self.stay(exit, cause, at_most);
                }
                _ => {
                    self.over.get_or_insert(cause);
                }
            }
        } else if self.stopping() && none_left() {
            self.over.get_or_insert(self.stop_cause);
        }
    }

    /// Takes the request, once.
    pub(super) fn start(
        &mut self,
        start: Start,
        index: usize,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), StartError> {
        if self.commands.started() {
            return Ok(());
        }
        self.claimed();
        let log = if fds.is_empty() { None } else { Some(File::from(fds.remove(0))) };
        if !start.files.is_empty() && !fds.is_empty() {
            mounted::put(&start.files, File::from(fds.remove(0)))?;
            self.mounts = count_mounts();
        }
        self.lifetime.set(start.lifetime);
        self.main_end.wish = start.at_main_end;
        self.arm(start.switch, index, fds.pop());
        names::set(&start.hostname);
        let identity = match &start.user {
            Some(user) => Identity::find(user).ok_or(StartError::UnknownUser)?,
            None => Identity::root(),
        };
        self.commands.start(start.main, identity, start.stop_signal, log)?;
        for (token, pipe) in self.commands.main_pipes() {
            let _ = self.watch(pipe, token);
        }
        self.note_run();
        Ok(())
    }

    /// Records that it runs, or is paused.
    pub(super) fn note_run(&self) {
        let run = self.as_recorded();
        let record = if self.freezer.is_closed() { RunRecord::Paused(run) } else { RunRecord::Started(run) };
        let _ = record.write(&self.record);
    }

    fn as_recorded(&self) -> Run {
        Run { has_main: self.commands.has_main(), mounts: self.mounts, main_end: self.main_end.report }
    }

    /// Begins the end; a shorter grace than the one that runs shortens it.
    pub(super) fn stop(&mut self, grace: std::time::Duration) {
        let deadline = Instant::now() + grace;
        let first = self.stop_deadline.is_none();
        self.stop_deadline = Some(self.stop_deadline.map_or(deadline, |old| old.min(deadline)));
        if first {
            let _ = RunRecord::Stopping(self.as_recorded()).write(&self.record);
            self.commands.terminate_all();
        }
        if !grace.is_zero() {
            // After the signal, so that it is the first thing that a paused process hears of.
            self.thaw(&FromInit::NotRunning);
        }
        if none_left() {
            self.over.get_or_insert(self.stop_cause);
        }
        self.arm_grace();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop_deadline.is_some()
    }

    /// Whether it has been given its request, and the end has not begun, whatever might have begun it.
    pub(super) fn is_running(&self) -> bool {
        self.commands.started() && !self.stopping() && self.over.is_none()
    }

    pub(super) fn arm_grace(&self) {
        let own = [self.armed.next(), self.stop_deadline, self.freezer.deadline(), self.unclaimed.deadline()];
        let own = own.into_iter().flatten();
        self.grace.set_to_earliest(own.chain(self.commands.signal_times()));
    }

    fn check_graces(&mut self) {
        self.grace.clear();
        let now = Instant::now();
        self.commands.signal_due(now);
        self.hear_holder(now);
        if self.stop_deadline.is_some_and(|deadline| deadline <= now) {
            self.over = Some(self.stop_cause);
        } else if let Some(cause) = self.armed.due(now) {
            self.over = Some(cause);
        }
        self.check_freezing(now);
        self.arm_grace();
    }

    /// Ends the main command if it still runs, records the end, and leaves the rest to the kernel, which ends
    /// every process of the namespace with its process 1.
    fn finish(mut self) -> i32 {
        let processes = processes::count(self.commands.cgroup()) + 1;
        let exit = self.commands.finish();
        let cause = self.over.unwrap_or(EndCause::InitKilled);
        let report = EndReport { cause, exit, at: SystemTime::now() };
        match RunRecord::Ended(End { report, processes, mounts: self.mounts }).write(&self.record) {
            Ok(()) => 0,
            Err(_) => 70,
        }
    }
}

fn count_mounts() -> u32 {
    std::fs::read("/proc/self/mountinfo")
        .map_or(0, |table| table.iter().filter(|byte| **byte == b'\n').count() as u32)
}
