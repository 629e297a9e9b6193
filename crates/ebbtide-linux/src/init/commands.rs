//! The processes that init has started and the orphans that the kernel gives it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ebbtide_driver::LogStream;
use ebbtide_model::{Command, ExitStatus};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait, waitpid};

use super::help::Helper;
use super::identity::Identity;
use super::processes::{kill_everybody, others_than_session};
use super::server::{MAIN_STDERR, MAIN_STDOUT};
use super::spawn::{Cage, Spawn, at};
use super::streams::{Pipes, make_terminal};
use crate::helper;
use crate::main_log::LogWriter;
use crate::protocol::{Exec, FileTask, SpawnError, SpawnStage};
use crate::sys;

/// How long a command whose stream is gone has between two signals.
const ABANDONED_GRACE: Duration = Duration::from_secs(2);
/// How much of the main command's output is read at once, and how often in a row.
const CHUNK: usize = 16 << 10;
const READS: usize = 4;
/// What a command may enlarge its pipe to.
const LARGEST_PIPE: usize = 1 << 20;
/// What kind of terminal a command is told to have if nobody knows better.
const TERM: &str = "xterm-256color";
/// The search path of every command that sets none of its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Main {
    pid: i32,
    exit: Option<ExitStatus>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    log: LogWriter,
}

/// What every command starts from.
struct Defaults {
    env: BTreeMap<String, String>,
    working_dir: String,
}

pub(super) struct Commands {
    cage: Cage,
    /// Set by the request.
    defaults: Option<Defaults>,
    /// What the main command is told to end by, instead of SIGTERM.
    stop_signal: Option<i32>,
    main: Option<Main>,
    /// Commands that run, by pid.
    running: HashMap<i32, Running>,
}

/// A command that was started, with the ends of its streams that are for whoever asked for it.
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) fds: Vec<OwnedFd>,
}

/// What a process was started for.
#[derive(Clone, Copy)]
enum Work {
    Command,
    OnTerminal,
    Help,
}

struct Running {
    work: Work,
    /// The next signal and its time, once the stream is gone.
    next: Option<(Instant, i32)>,
}

impl Commands {
    pub(super) fn new(cage: Cage) -> Self {
        Self { cage, defaults: None, stop_signal: None, main: None, running: HashMap::new() }
    }

    /// The directory of the payload's cgroup.
    pub(super) fn cgroup(&self) -> BorrowedFd<'_> {
        self.cage.payload.as_fd()
    }

    pub(super) fn started(&self) -> bool {
        self.defaults.is_some()
    }

    /// Takes the defaults of the request and starts the main command, if it has one.
    pub(super) fn start(
        &mut self,
        main: Command,
        identity: Identity,
        stop_signal: Option<i32>,
        log: Option<File>,
    ) -> Result<(), SpawnError> {
        let home = identity.home.clone();
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOME".to_owned(), home)]);
        env.extend(main.env);
        let defaults = Defaults { env, working_dir: main.working_dir.unwrap_or_else(|| "/".to_owned()) };
        // Where it can be neither entered nor made, the commands say so.
        let _ = helper::make_directory(Path::new(&defaults.working_dir));
        self.cage.identity = identity;
        self.stop_signal = stop_signal;
        if !main.argv.is_empty() {
            let (inside, Pipes { stdout, stderr, .. }) = at(SpawnStage::Prepare, Pipes::make(false))?;
            let working_dir = &defaults.working_dir;
            let command = Spawn { argv: &main.argv, env: &defaults.env, working_dir };
            let pid = self.cage.spawn(&command, &inside)?;
            for pipe in [&stdout, &stderr] {
                let _ = rustix::io::ioctl_fionbio(pipe, true);
            }
            self.main = Some(Main { pid, exit: None, stdout, stderr, log: LogWriter::new(log) });
        }
        self.defaults = Some(defaults);
        Ok(())
    }

    /// The main command's pipes, with the tokens to watch them by.
    pub(super) fn main_pipes(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        let main = self.main.iter();
        main.flat_map(|main| [(MAIN_STDOUT, main.stdout.as_fd()), (MAIN_STDERR, main.stderr.as_fd())])
    }

    /// Runs a command beside the main one.
    pub(super) fn exec(&mut self, exec: Exec) -> Option<Result<Started, SpawnError>> {
        let defaults = self.defaults.as_ref()?;
        let mut env = defaults.env.clone();
        env.extend(exec.env);
        if exec.terminal.is_some() {
            env.entry("TERM".to_owned()).or_insert_with(|| TERM.to_owned());
        }
        let working_dir = exec.working_dir.as_deref().unwrap_or(&defaults.working_dir);
        let command = Spawn { argv: &exec.argv, env: &env, working_dir };
        let streams = match exec.terminal {
            Some(size) => make_terminal(size).map(|(inside, master)| (inside, vec![master])),
            None => Pipes::make(exec.stdin).map(|(inside, Pipes { stdin, stdout, stderr })| {
                (inside, [stdout, stderr].into_iter().chain(stdin).collect())
            }),
        };
        let started = at(SpawnStage::Prepare, streams).and_then(|(inside, fds)| {
            let pid = self.cage.spawn(&command, &inside)?;
            let work = if inside.terminal { Work::OnTerminal } else { Work::Command };
            self.running.insert(pid, Running { work, next: None });
            Ok(Started { pid, fds })
        });
        Some(started)
    }

    /// Starts a helper for a file.
    pub(super) fn help(&mut self, task: FileTask) -> Option<io::Result<Started>> {
        let defaults = self.defaults.as_ref()?;
        Some(self.cage.help(task, &defaults.working_dir).map(|Helper { pid, control, content }| {
            self.running.insert(pid, Running { work: Work::Help, next: None });
            Started { pid, fds: vec![control, content] }
        }))
    }

    /// Sends a signal to a command's process group, if the command has not ended.
    pub(super) fn signal(&self, pid: i32, signal: i32) {
        if self.running.contains_key(&pid)
            && let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(signal))
        {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Ends a command whose stream is gone. One that has ended leaves its background processes alone.
    ///
    /// A terminal is hung up first, as the kernel does with one whose other side goes: a shell passes SIGHUP on to
    /// its jobs and ends, where it would ignore SIGTERM. A helper hears of it by the end of its pipe, and has the
    /// grace to undo what it has begun.
    pub(super) fn abandon(&mut self, pid: i32) {
        let Some(command) = self.running.get_mut(&pid) else { return };
        let now = Instant::now();
        command.next = Some(match command.work {
            Work::Command => (now, libc::SIGTERM),
            Work::OnTerminal => (now, libc::SIGHUP),
            Work::Help => (now + ABANDONED_GRACE, libc::SIGKILL),
        });
        self.signal_due(now);
    }

    /// When the next signals of abandoned commands are due.
    pub(super) fn signal_times(&self) -> impl Iterator<Item = Instant> {
        self.running.values().filter_map(|command| command.next).map(|(at, _)| at)
    }

    /// Sends what is due: SIGHUP, SIGTERM, SIGKILL, each a grace after the one before.
    pub(super) fn signal_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (pid, command) in &mut self.running {
            let Some((_, signal)) = command.next.filter(|(at, _)| *at <= now) else { continue };
            due.push((*pid, signal));
            command.next = match signal {
                libc::SIGHUP => Some((now + ABANDONED_GRACE, libc::SIGTERM)),
                libc::SIGTERM => Some((now + ABANDONED_GRACE, libc::SIGKILL)),
                _ => None,
            };
        }
        for (pid, signal) in due {
            self.signal(pid, signal);
            if signal == libc::SIGHUP {
                // What was stopped can only end once it goes on.
                self.signal(pid, libc::SIGCONT);
            }
        }
    }

    /// SIGTERM to every process of the sandbox. A main command with a signal of its own gets that, and what it has
    /// started is left to it: told to end by itself, a worker would cut off what its server wants to finish.
    pub(super) fn terminate_all(&self) {
        match (&self.main, self.stop_signal) {
            (Some(main), Some(signal)) if main.exit.is_none() && signal != libc::SIGTERM => {
                for pid in others_than_session(main.pid) {
                    sys::kill(pid, libc::SIGTERM);
                }
                sys::kill(main.pid, signal);
            }
            _ => kill_everybody(Signal::TERM),
        }
    }

    /// Reaps whatever has ended; answers the commands among it.
    pub(super) fn reap(&mut self) -> Vec<(i32, ExitStatus)> {
        let mut ended = Vec::new();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let Some(status) = exit_status(status) else { continue };
            match &mut self.main {
                Some(main) if main.pid == pid => main.exit = Some(status),
                _ if self.running.remove(&pid).is_some() => ended.push((pid, status)),
                _ => {}
            }
        }
        ended
    }

    pub(super) fn has_main(&self) -> bool {
        self.main.is_some()
    }

    pub(super) fn main_exit(&self) -> Option<ExitStatus> {
        self.main.as_ref().and_then(|main| main.exit)
    }

    /// Writes what the main command has put out to its log.
    pub(super) fn keep_output(&mut self, token: u64, epoll: &OwnedFd) {
        if let Some(main) = &mut self.main {
            let open = main.keep_output(token);
            if !open {
                let _ = epoll::delete(epoll, if token == MAIN_STDOUT { &main.stdout } else { &main.stderr });
            }
        }
    }

    /// Kills the main command if it still runs; answers how it ended, `None` if there is none.
    pub(super) fn finish(&mut self) -> Option<ExitStatus> {
        let main = self.main.as_mut()?;
        if main.exit.is_none() {
            kill_everybody(Signal::KILL);
            main.exit = Pid::from_raw(main.pid)
                .and_then(|pid| waitpid(Some(pid), WaitOptions::empty()).ok().flatten())
                .and_then(|(_, status)| exit_status(status));
        }
        let exit = main.exit;
        self.drain();
        exit
    }

    /// Writes to the log what the main command has left in its pipes.
    pub(super) fn drain(&mut self) {
        let Some(main) = &mut self.main else { return };
        for token in [MAIN_STDOUT, MAIN_STDERR] {
            // As much as a pipe may hold, and no more: what was left in the background may write for ever.
            for _ in 0..LARGEST_PIPE / (READS * CHUNK) {
                main.keep_output(token);
            }
        }
        main.log.finish();
    }
}

impl Main {
    /// Reads what is there, at most a pipe's usual content; answers whether more can come.
    fn keep_output(&mut self, token: u64) -> bool {
        let (pipe, stream) = if token == MAIN_STDOUT {
            (&self.stdout, LogStream::Stdout)
        } else {
            (&self.stderr, LogStream::Stderr)
        };
        let mut buffer = [0; CHUNK];
        for _ in 0..READS {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(read) => self.log.append(stream, &buffer[..read]),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    if let Some(code) = status.exit_status() {
        return Some(ExitStatus::Code((code & 0xff) as u8));
    }
    status.terminating_signal().map(|signal| ExitStatus::Signal((signal & 0x7f) as u8))
}
