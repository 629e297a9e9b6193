//! A home with owners and sandboxes, and what is done to them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, SystemTime};

use ebbtide_tests::command::kill;
use ebbtide_tests::{Output, Running, TestHome, holds_within};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::LIMIT;
use super::owners::Owner;
use super::record::Outcome;
use super::schedule::{Action, Step};

/// How many owners live at most: what is bounded harms no machine.
const OWNERS: usize = 40;
/// How many commands run at once.
const COMMANDS: usize = 10;
/// Sandboxes that are purged together.
const CLASSES: usize = 8;
/// The beginning of a connection, cut in the middle of a frame.
const CUT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\x01\0\x01\x04\0\0\0\x01half";

/// A home under torture.
pub(crate) struct World<'a> {
    pub(crate) home: &'a TestHome,
    /// The program that the home runs, and what it is replaced with.
    pub(crate) program: PathBuf,
    /// Carried by every sandbox of the round.
    pub(crate) tag: String,
    owners: Mutex<Vec<Owner>>,
    pub(crate) outcome: Mutex<Outcome>,
    /// Daemons that were started by name.
    daemons: Mutex<Vec<Running>>,
    /// The ids that a create has answered with.
    pub(crate) answered: Mutex<Vec<String>>,
    purged: Mutex<BTreeSet<usize>>,
    pub(crate) spares_killed: Mutex<BTreeSet<u32>>,
    commands: AtomicUsize,
}

/// A lock that a failed thread has held is a lock.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> World<'a> {
    pub(crate) fn new(home: &'a TestHome, program: PathBuf, tag: String) -> Self {
        Self {
            home,
            program,
            tag,
            owners: Mutex::default(),
            outcome: Mutex::default(),
            daemons: Mutex::default(),
            answered: Mutex::default(),
            purged: Mutex::default(),
            spares_killed: Mutex::default(),
            commands: AtomicUsize::new(0),
        }
    }

    pub(crate) fn owners(&self) -> MutexGuard<'_, Vec<Owner>> {
        held(&self.owners)
    }

    /// Does one step. What takes a command is done beside the steps that follow.
    pub(crate) fn act<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) {
        held(&self.outcome).steps += 1;
        let done = match step.action {
            Action::Create => self.create(step, scope, None),
            Action::KillCreate => self.create(step, scope, Some(step.pause / 8)),
            Action::Run => self.run(),
            Action::KillOwner => self.end_owner(step, Signal::KILL),
            Action::TermOwner => self.end_owner(step, Signal::TERM),
            Action::StopOwner => self.signal_owner(step, Signal::STOP),
            Action::ContinueOwner => self.signal_owner(step, Signal::CONT),
            Action::KillInit => self.signal_init(step, Signal::KILL),
            Action::TermInit => self.signal_init(step, Signal::TERM),
            Action::StopInit => self.pause_init(step, scope),
            Action::KillSpare => self.kill_spare(step),
            Action::KillPayload => self.kill_payload(step),
            Action::KillDaemon => self.signal_daemon(Signal::KILL),
            Action::TermDaemon => self.signal_daemon(Signal::TERM),
            Action::StopDaemon => self.pause(self.home.daemon().into_iter().collect(), step.pause, scope),
            Action::FailDaemon => self.fail_daemon(step, scope),
            Action::KillLauncher => self.signal_launcher(Signal::KILL),
            Action::TermLauncher => self.signal_launcher(Signal::TERM),
            Action::StopLauncher => self.pause(self.home.processes("ebb-launcher"), step.pause, scope),
            Action::KillBoth => self.signal_daemon(Signal::KILL) | self.signal_launcher(Signal::KILL),
            Action::KillAll => {
                let both = self.signal_daemon(Signal::KILL) | self.signal_launcher(Signal::KILL);
                both | self.signal_init(step, Signal::KILL) | self.end_owner(step, Signal::KILL)
            }
            Action::KillExec => self.kill_exec(step, scope),
            Action::CutConnection => self.cut(),
            Action::StopTwice => self.stop_twice(step, scope),
            Action::Purge => self.purge(step, scope),
            Action::Replace => self.replace(),
        };
        if done && step.action.is_fault() && step.action != Action::FailDaemon {
            self.count(step.action);
        }
        if done {
            self.note(&step.to_string());
        }
    }

    /// For whoever has to find out what has led to a failure.
    fn note(&self, words: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The minute and the second, as in the times of sandboxes.
        let (second, milli) = (now.as_secs() % 3600, now.subsec_millis());
        held(&self.outcome).log.push(format!("{:02}:{:02}.{milli:03} {words}", second / 60, second % 60));
    }

    fn count(&self, action: Action) {
        *held(&self.outcome).faults.entry(action.as_str().to_owned()).or_default() += 1;
    }

    /// One command beside the steps; `false` if there are too many already.
    fn beside<'s>(&'s self, scope: &'s Scope<'s, '_>, act: impl FnOnce(&'s Self) + Send + 's) -> bool {
        if self.commands.fetch_add(1, Ordering::Relaxed) >= COMMANDS {
            self.commands.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        scope.spawn(move || {
            // What a command of the test panics about is said; it is not what is looked for here.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(self)));
            self.commands.fetch_sub(1, Ordering::Relaxed);
        });
        true
    }

    /// `ebb` with these arguments, to its end.
    pub(crate) fn ebb(&self, args: &[&str]) -> Output {
        self.home.ebb(args.iter().copied()).limit(LIMIT).run()
    }

    fn create<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>, cut: Option<Duration>) -> bool {
        let pick = step.pick;
        if self.owners().iter().filter(|owner| owner.alive).count() >= OWNERS {
            return false;
        }
        self.beside(scope, move |world| {
            let mut owner = Owner::plain();
            let (pid, class) = (owner.pid, pick % CLASSES);
            {
                let mut owners = world.owners();
                if held(&world.purged).contains(&class) {
                    owner.may_end.insert("purged");
                }
                owner.class = class;
                owners.push(owner);
            }
            let (owner, class) = (pid.to_string(), world.class(class));
            let mut args =
                vec!["create", "--json", "--owner", &owner, "--tag", &world.tag, "--tag", &class, "--"];
            args.extend(PAYLOADS[pick / CLASSES % PAYLOADS.len()]);
            let running = world.home.ebb(args).limit(LIMIT).spawn();
            if let Some(cut) = cut {
                thread::sleep(cut);
                running.signal(Signal::KILL);
                let _ = running.wait();
                return;
            }
            let output = running.wait();
            if output.code() == 0 {
                let id = output.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
                held(&world.answered).push(id.clone());
                world.learn(pid, &id);
            }
        })
    }

    fn learn(&self, owner: u32, sandbox: &str) {
        // Looked up without the lock, which every step takes.
        let mut found = Owner::found_init(self.home, sandbox);
        if let Some(owner) = self.owners().iter_mut().find(|known| known.pid == owner) {
            owner.sandbox = Some(sandbox.to_owned());
            owner.init_pid = found.as_ref().map(|(pid, _)| *pid);
            owner.init = found.take();
        }
    }

    fn class(&self, class: usize) -> String {
        format!("{}-{class}", self.tag)
    }

    fn run(&self) -> bool {
        let mut owners = self.owners();
        if owners.iter().filter(|owner| owner.alive).count() >= OWNERS {
            return false;
        }
        owners.push(Owner::run(self.home, &self.tag));
        true
    }

    fn end_owner(&self, step: &Step, signal: Signal) -> bool {
        let mut owners = self.owners();
        let mut alive: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.alive).collect();
        let count = alive.len().max(1);
        let Some(owner) = alive.get_mut(step.pick % count) else { return false };
        owner.end(signal);
        self.note(&format!("owner {}", owner.pid));
        true
    }

    fn signal_owner(&self, step: &Step, signal: Signal) -> bool {
        let owners = self.owners();
        let alive: Vec<&Owner> = owners.iter().filter(|owner| owner.alive).collect();
        alive.get(step.pick % alive.len().max(1)).map(|owner| kill(owner.pid, signal)).is_some()
    }

    /// Sends a signal to the init of a sandbox; what that may end with is noted first.
    fn signal_init(&self, step: &Step, signal: Signal) -> bool {
        let mut owners = self.owners();
        let mut with: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.init.is_some()).collect();
        let count = with.len().max(1);
        let Some(owner) = with.get_mut(step.pick % count) else { return false };
        if signal == Signal::KILL {
            owner.may_end.insert("init_killed");
        }
        self.note(&format!("init {:?} of owner {}", owner.init_pid, owner.pid));
        owner.init.as_ref().is_some_and(|(_, fd)| pidfd_send_signal(fd, signal).is_ok())
    }

    fn pause_init<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let pick = {
            let owners = self.owners();
            let with: Vec<u32> = owners.iter().filter_map(|owner| Some(owner.init.as_ref()?.0)).collect();
            with.get(step.pick % with.len().max(1)).copied()
        };
        // Those that have ended are no process of this home any more.
        let inits = self.home.processes("ebb-init");
        self.pause(pick.into_iter().filter(|pid| inits.contains(pid)).collect(), step.pause, scope)
    }

    fn kill_spare(&self, step: &Step) -> bool {
        let known: Vec<u32> = self.owners().iter().filter_map(|owner| Some(owner.init.as_ref()?.0)).collect();
        let inits = self.home.processes("ebb-init");
        let spares: Vec<u32> = inits.into_iter().filter(|pid| !known.contains(pid)).collect();
        let Some(pid) = spares.get(step.pick % spares.len().max(1)) else { return false };
        // It may be given to a sandbox at this moment.
        held(&self.spares_killed).insert(*pid);
        self.note(&format!("init {pid}"));
        kill(*pid, Signal::KILL);
        true
    }

    fn kill_payload(&self, step: &Step) -> bool {
        let mut owners = self.owners();
        let mut with: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.init.is_some()).collect();
        let count = with.len().max(1);
        let Some(owner) = with.get_mut(step.pick % count) else { return false };
        let Some((init, _)) = owner.init else { return false };
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        let Some(main) = children.split(' ').next().and_then(|pid| pid.parse().ok()) else { return false };
        owner.may_end.insert("main_exited");
        self.note(&format!("process {main} of init {init} of owner {}", owner.pid));
        kill(main, Signal::KILL);
        true
    }

    fn signal_daemon(&self, signal: Signal) -> bool {
        self.home.daemon().map(|pid| kill(pid, signal)).is_some()
    }

    fn signal_launcher(&self, signal: Signal) -> bool {
        let pids = self.home.processes("ebb-launcher");
        pids.iter().for_each(|pid| kill(*pid, signal));
        !pids.is_empty()
    }

    fn pause<'s>(&'s self, pids: Vec<u32>, pause: Duration, scope: &'s Scope<'s, '_>) -> bool {
        pids.iter().for_each(|pid| kill(*pid, Signal::STOP));
        let stopped = !pids.is_empty();
        scope.spawn(move || {
            thread::sleep(pause);
            pids.iter().for_each(|pid| kill(*pid, Signal::CONT));
        });
        stopped
    }

    /// Starts a daemon that dies at a named step, if the program has such.
    fn fail_daemon<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let points = ebbtide_control::FAIL_POINTS;
        let point = points[step.pick % points.len()];
        self.beside(scope, move |world| {
            if let Some(pid) = world.home.daemon() {
                kill(pid, Signal::TERM);
                holds_within(Duration::from_secs(2), || world.home.daemon() != Some(pid));
            }
            let serve = world.home.ebb(["serve"]).env("EBBTIDE_FAIL_POINT", point).limit(LIMIT * 10).spawn();
            held(&world.daemons).push(serve);
        })
    }

    fn kill_exec<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some(id) = self.some_sandbox(step) else { return false };
        let pause = step.pause / 2;
        self.beside(scope, move |world| {
            let running = world.home.exec(&id, "trap '' TERM; sleep 3600").limit(LIMIT).spawn();
            thread::sleep(pause);
            running.signal(Signal::KILL);
            let _ = running.wait();
        })
    }

    fn stop_twice<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some(id) = self.some_sandbox(step) else { return false };
        for owner in self.owners().iter_mut().filter(|owner| owner.sandbox.as_ref() == Some(&id)) {
            owner.may_end.insert("stopped");
        }
        let other = id.clone();
        let both = self.beside(scope, move |world| drop(world.ebb(&["stop", "--grace", "1", &id])));
        both & self.beside(scope, move |world| drop(world.ebb(&["stop", "--grace", "0", &other])))
    }

    fn some_sandbox(&self, step: &Step) -> Option<String> {
        let owners = self.owners();
        let ids: Vec<&String> = owners.iter().filter_map(|owner| owner.sandbox.as_ref()).collect();
        ids.get(step.pick % ids.len().max(1)).map(|id| (*id).clone())
    }

    fn purge<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let class = step.pick % CLASSES;
        {
            let mut owners = self.owners();
            held(&self.purged).insert(class);
            for owner in owners.iter_mut().filter(|owner| owner.class == class) {
                owner.may_end.insert("purged");
            }
        }
        self.beside(scope, move |world| drop(world.ebb(&["purge", "--tag", &world.class(class), "--yes"])))
    }

    fn cut(&self) -> bool {
        let socket = self.home.run_dir_if_any().map(|dir| dir.join("ebb.sock"));
        let stream = socket.and_then(|socket| UnixStream::connect(socket).ok());
        stream.is_some_and(|mut stream| stream.write_all(CUT).is_ok())
    }

    /// Puts another file in the place of the program, as an upgrade does.
    fn replace(&self) -> bool {
        let fresh = self.program.with_extension("new");
        fs::copy(&self.program, &fresh).and_then(|_| fs::rename(&fresh, &self.program)).is_ok()
    }

    /// Notes for each owner that is dead how long after it the last process of its sandbox was gone.
    pub(crate) fn watch(&self) {
        let mut releases = Vec::new();
        for owner in self.owners().iter_mut() {
            let Some((_, init)) = &owner.init else { continue };
            let mut fds = [PollFd::new(init, PollFlags::IN)];
            let ended = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0);
            if !ended {
                continue;
            }
            owner.init = None;
            // Only where nothing but the owner's death has ended it.
            if let Some(died) = owner.died.filter(|_| owner.may_end.iter().all(|end| *end == "owner_gone")) {
                releases.push(u64::try_from(died.elapsed().as_millis()).unwrap_or(u64::MAX));
            }
        }
        held(&self.outcome).releases.extend(releases);
    }

    /// Whether an init of a sandbox of this round is still there.
    pub(crate) fn inits_left(&self) -> usize {
        self.watch();
        self.owners().iter().filter(|owner| owner.init.is_some()).count()
    }

    /// Waits for everybody who was started here. The home is shut down.
    pub(crate) fn reap(&self) {
        std::mem::take(&mut *self.owners()).into_iter().for_each(Owner::reap);
        for daemon in std::mem::take(&mut *held(&self.daemons)) {
            if daemon.wait().code() == 137 {
                self.count(Action::FailDaemon);
            }
        }
    }
}

/// What sandboxes run: nothing, something, and what does not mean to go. Each within its own bounds.
const PAYLOADS: &[&[&str]] = &[
    &["sleep", "3600"],
    &["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 3600; done"],
    &[
        "sh",
        "-c",
        "for i in 1 2 3; do (setsid sh -c '(setsid sleep 3600 &); sleep 3600' &); done; sleep 3600",
    ],
    &["sh", "-c", "for i in 1 2 3 4; do (while :; do (sleep 0.3); done) & done; wait"],
    &["sh", "-c", "sh -c 'kill -STOP $$' & sleep 3600"],
    &[
        "sh",
        "-c",
        "yes line | head -c 1000000; head -c 4000000 /dev/zero >/tmp/full; exec 7</tmp/full; rm /tmp/full; sleep 3600",
    ],
];
