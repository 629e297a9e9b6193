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
use super::model::{Case, Model};
use super::owners::Owner;
use super::schedule::Step;
use super::signals::one_of;
use super::world::{World, held};

/// How many owners live at most: what is bounded harms no machine.
const OWNERS: usize = 40;
/// How many sandboxes live at most.
const SANDBOXES: usize = 60;
/// Sandboxes that are purged together.
const CLASSES: usize = 8;
/// The beginning of a connection, cut in the middle of a frame.
const CUT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\x01\0\x01\x04\0\0\0\x01half";

impl World<'_> {
    /// A sandbox more, whose purges and tags are known before it is asked for. Returns its tags.
    pub(super) fn begin(
        &self,
        model: &mut Model,
        step: &Step,
        owner: Option<u64>,
        elsewhere: bool,
    ) -> Vec<String> {
        let class = step.pick % CLASSES;
        let mut case = Case::new(step.number, step.policy.clone(), owner);
        case.class = class;
        case.elsewhere = elsewhere;
        // Those elsewhere are another organisation's, whose sandboxes our purges do not reach.
        if !elsewhere && held(&self.purged).contains(&class) {
            case.may_end.insert("purged");
        }
        model.cases.push(case);
        vec![self.tag.clone(), self.class(class), self.own(step.number)]
    }

    /// The tag that one sandbox alone has.
    pub(crate) fn own(&self, number: u64) -> String {
        format!("{}-n{number}", self.tag)
    }

    fn class(&self, class: usize) -> String {
        format!("{}-{class}", self.tag)
    }

    pub(super) fn is_full(&self, model: &Model) -> bool {
        let sandboxes = model.cases.iter().filter(|case| case.init.is_some()).count();
        model.living(|_| true).len() >= OWNERS || sandboxes >= SANDBOXES
    }

    pub(super) fn create<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>, cut: Option<Duration>) -> bool {
        let step = step.clone();
        !self.is_full(&self.model()) && self.beside(scope, move |world| world.create_now(&step, cut))
    }

    pub(super) fn create_now(&self, step: &Step, cut: Option<Duration>) {
        let mut args = ["create", "--json"].map(str::to_owned).to_vec();
        {
            let mut model = self.model();
            let owner = (!step.policy.detach).then(|| model.owner(Owner::plain()));
            for tag in self.begin(&mut model, step, owner, false) {
                args.extend(["--tag".to_owned(), tag]);
            }
            if let Some(owner) = owner.and_then(|key| model.owners.get(&key)) {
                args.extend(["--owner".to_owned(), owner.pid.to_string()]);
            }
        }
        args.extend(step.policy.options());
        // Only who runs nothing can be idle.
        if step.policy.idle.is_none() {
            args.push("--".to_owned());
            args.extend(PAYLOADS[step.pick / CLASSES % PAYLOADS.len()].iter().map(|word| (*word).to_owned()));
        }
        let running = self.command(false, args.iter().map(String::as_str)).spawn();
        if let Some(cut) = cut {
            thread::sleep(cut);
            running.signal(Signal::KILL);
            let _ = running.wait();
            return;
        }
        let output = running.wait();
        if output.code() == 0 {
            let id = output.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
            self.learn(step.number, &id);
        } else {
            self.note(&format!("{:>6} was not made: {}", step.number, output.error().trim_end()));
        }
    }

    pub(super) fn learn(&self, number: u64, sandbox: &str) {
        // Looked up without the lock, which every step takes.
        let mut found = Owner::found_init(self.home, sandbox);
        self.note(&format!("{number:>6} is {sandbox}"));
        if let Some(case) = self.model().case(number) {
            case.id = Some(sandbox.to_owned());
            case.init_pid = found.as_ref().map(|(pid, _)| *pid);
            case.init = found.take();
        }
    }

    pub(super) fn run(&self, step: &Step) -> bool {
        let mut model = self.model();
        if self.is_full(&model) {
            return false;
        }
        // Nothing but an owner that is gone, or that has had enough, ends it.
        let step = Step { policy: Default::default(), ..step.clone() };
        let own = self.own(step.number);
        let owner = model.owner(Owner::run(self.home, &["--tag", &self.tag, "--tag", &own]));
        self.begin(&mut model, &step, Some(owner), false);
        if let Some(case) = model.case(step.number) {
            case.class = usize::MAX;
            case.may_end.remove("purged");
        }
        true
    }

    /// Starts a daemon that dies at a named step, if the program has such, and asks it for what leads there.
    pub(super) fn fail_daemon<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let points = ebbtide_control::FAIL_POINTS;
        let point = points[step.pick % points.len()];
        let step = step.clone();
        self.beside(scope, move |world| {
            if let Some(pid) = world.home.daemon() {
                held(&world.killed).insert(pid);
                kill(pid, Signal::KILL);
                holds_within(Duration::from_secs(2), || world.home.daemon() != Some(pid));
            }
            let serve = world.home.ebb(["serve"]).env("EBBTIDE_FAIL_POINT", point).limit(LIMIT * 10).spawn();
            let pid = serve.pid();
            held(&world.daemons).push((serve, point));
            // Another one may have been faster.
            if holds_within(Duration::from_secs(3), || world.home.daemon() == Some(pid)) {
                world.note(&format!("{:>6} dies at {point}", step.number));
                world.provoke(&step, point);
            }
        })
    }

    pub(super) fn kill_exec<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some((id, elsewhere)) = self.some_sandbox(step, |_| true) else { return false };
        let pause = step.pause / 2;
        self.beside(scope, move |world| {
            let args = ["exec", &id, "--", "sh", "-c", "trap '' TERM; sleep 3600"];
            let running = world.command(elsewhere, args).spawn();
            thread::sleep(pause);
            running.signal(Signal::KILL);
            let _ = running.wait();
        })
    }

    pub(super) fn stop_twice<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some((id, elsewhere)) = self.some_sandbox(step, |_| true) else { return false };
        for case in self.model().cases.iter_mut().filter(|case| case.id.as_ref() == Some(&id)) {
            case.may_end.insert("stopped");
        }
        let other = id.clone();
        let both =
            self.beside(scope, move |world| drop(world.ebb(elsewhere, &["stop", "--grace", "1", &id])));
        both & self.beside(scope, move |world| drop(world.ebb(elsewhere, &["stop", "--grace", "0", &other])))
    }

    /// The id of a sandbox that is known, and whether those elsewhere have it.
    pub(super) fn some_sandbox(&self, step: &Step, is: impl Fn(&Case) -> bool) -> Option<(String, bool)> {
        let model = self.model();
        let known = model.cases.iter().filter(|case| is(case));
        let ids: Vec<_> = known.filter_map(|case| Some((case.id.clone()?, case.elsewhere))).collect();
        // Mostly of those that were made last: most of the others are gone.
        one_of(ids.get(ids.len().saturating_sub(SANDBOXES)..)?, step)
    }

    pub(super) fn purge<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let step = step.clone();
        self.beside(scope, move |world| world.purge_now(&step))
    }

    /// At once, or as a plan and what confirms it.
    pub(super) fn purge_now(&self, step: &Step) {
        let class = step.pick % CLASSES;
        {
            let mut model = self.model();
            held(&self.purged).insert(class);
            for case in model.cases.iter_mut().filter(|case| case.class == class && !case.elsewhere) {
                case.may_end.insert("purged");
            }
        }
        let tag = self.class(class);
        if (step.pick / CLASSES).is_multiple_of(2) {
            drop(self.ebb(false, &["purge", "--tag", &tag, "--yes"]));
            return;
        }
        let plan = self.ebb(false, &["purge", "--tag", &tag, "--json"]);
        if plan.code() == 0
            && let Some(hash) = plan.json()["hash"].as_str()
        {
            // Refused where something has changed meanwhile.
            drop(self.ebb(false, &["purge", "--tag", &tag, "--confirm", hash]));
        }
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
