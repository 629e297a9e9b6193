//! What is done by commands: sandboxes are made, run in, stopped, purged, and clients die in the middle of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread::{self, Scope};
use std::time::Duration;

use ebbtide_tests::command::kill;
use ebbtide_tests::holds_within;
use rustix::process::Signal;

use super::LIMIT;
use super::owners::Owner;
use super::schedule::Step;
use super::world::{World, held};

/// How many owners live at most: what is bounded harms no machine.
const OWNERS: usize = 40;
/// Sandboxes that are purged together.
const CLASSES: usize = 8;
/// The beginning of a connection, cut in the middle of a frame.
const CUT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\x01\0\x01\x04\0\0\0\x01half";

impl World<'_> {
    pub(super) fn create<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>, cut: Option<Duration>) -> bool {
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

    pub(super) fn run(&self) -> bool {
        let mut owners = self.owners();
        if owners.iter().filter(|owner| owner.alive).count() >= OWNERS {
            return false;
        }
        owners.push(Owner::run(self.home, &self.tag));
        true
    }

    /// Starts a daemon that dies at a named step, if the program has such.
    pub(super) fn fail_daemon<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
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

    pub(super) fn kill_exec<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some(id) = self.some_sandbox(step) else { return false };
        let pause = step.pause / 2;
        self.beside(scope, move |world| {
            let running = world.home.exec(&id, "trap '' TERM; sleep 3600").limit(LIMIT).spawn();
            thread::sleep(pause);
            running.signal(Signal::KILL);
            let _ = running.wait();
        })
    }

    pub(super) fn stop_twice<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
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

    pub(super) fn purge<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
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

    pub(super) fn cut(&self) -> bool {
        let socket = self.home.run_dir_if_any().map(|dir| dir.join("ebb.sock"));
        let stream = socket.and_then(|socket| UnixStream::connect(socket).ok());
        stream.is_some_and(|mut stream| stream.write_all(CUT).is_ok())
    }

    /// Puts another file in the place of the program, as an upgrade does.
    pub(super) fn replace(&self) -> bool {
        let fresh = self.program.with_extension("new");
        fs::copy(&self.program, &fresh).and_then(|_| fs::rename(&fresh, &self.program)).is_ok()
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
