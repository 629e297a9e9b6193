//! Processes that stand still (SIGSTOP), for longer than anything is waited for: who lives keeps what is theirs, and what the
//! dead leave goes without anybody's help.

use std::time::Duration;

use ebbtide_tests::command::kill;
use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, Program, Running, TestHome, eventually, scale};
use rustix::process::Signal;
use serde_json::Value;

use crate::{LIMIT, ended, program};

/// A home whose daemon listens, with an owner on the socket and one elsewhere.
struct World<'a> {
    home: &'a TestHome,
    serve: Running,
    listen: String,
    key: String,
    here: Program,
    elsewhere: Program,
}

impl<'a> World<'a> {
    fn new(home: &'a TestHome, heartbeat: &str) -> Self {
        let key = home.ebb(["key", "create", "--json", "--organization", "acme"]).run().json();
        let key = key["key"].as_str().unwrap().to_owned();
        let serve = home.ebb(["serve", "--json", "--listen", "127.0.0.1:0"]).limit(LIMIT * 20).spawn();
        let ready: Value = serde_json::from_str(&serve.first_line(Duration::from_secs(30))).unwrap();
        let listen = ready["listen"][0].as_str().unwrap().to_owned();
        let here = program::at_home(home, &[("TEST_ORPHAN_GRACE", "1")]);
        let elsewhere = program::start(&[
            ("EBBTIDE_URL", listen.as_str()),
            ("EBBTIDE_API_KEY", &key),
            ("EBBTIDE_LEASE_HEARTBEAT", heartbeat),
            ("TEST_ORPHAN_GRACE", "1"),
        ]);
        Self { home, serve, listen, key, here, elsewhere }
    }

    fn owners(&self) -> [&Program; 2] {
        [&self.here, &self.elsewhere]
    }

    fn inits(&self) -> Vec<u32> {
        self.owners().map(|owner| self.home.init_of(&owner.id)).to_vec()
    }

    fn helpers(&self) -> Vec<u32> {
        [self.serve.pid()].into_iter().chain(self.home.processes("ebb-launcher")).collect()
    }

    /// `ebb`, as the owner of this sandbox would call it.
    fn ebb(&self, owner: &Program, args: &[&str]) -> ebbtide_tests::Ebb {
        let ebb = self.home.ebb(args.iter().copied());
        if owner.id == self.here.id {
            return ebb;
        }
        ebb.env("EBBTIDE_URL", &self.listen).env("EBBTIDE_API_KEY", &self.key)
    }

    fn assert_unharmed(&self, what: &str) {
        for owner in self.owners() {
            eventually(&format!("{what} have stood still, and it has an owner"), LIMIT, || {
                let sandbox = self.ebb(owner, &["get", &owner.id, "--json"]).run().json();
                assert!(sandbox["ended_at"].is_null(), "{what} stood still: {sandbox}");
                (sandbox["ownership"]["kind"] == "owned").then_some(())
            });
            let said = self.ebb(owner, &["exec", &owner.id, "--", "echo", "alive"]).run().ok();
            assert_eq!(said, "alive", "{what} stood still");
        }
    }

    /// The owners die while daemon and launcher stand still for good. Of the one elsewhere that is noticed when nobody has
    /// attended to its sandbox for `daemon_grace`.
    fn assert_gone_without_help(mut self, daemon_grace: Duration) {
        let (inits, helpers) = (self.inits(), self.helpers());
        helpers.iter().for_each(|pid| kill(*pid, Signal::STOP));
        self.here.kill();
        self.elsewhere.kill();
        for (init, within) in inits.into_iter().zip([LIMIT, LIMIT + daemon_grace]) {
            eventually("its init has ended", within, || (!is_alive(init)).then_some(()));
        }
        helpers.iter().for_each(|pid| kill(*pid, Signal::CONT));
        assert_eq!(ended(self.home, &self.here.id)["end"]["reason"], "owner_gone");
        let _ = self.home.ebb(["doctor"]).run().exited(0);
        self.home.shutdown();
        let _ = self.serve.wait();
    }
}

/// Who stands still, and what they are called; how often the owner elsewhere says that it is there; for how long its sandbox
/// is nobody's when the daemon falls silent.
type Case = (&'static str, fn(&World<'_>) -> Vec<u32>, &'static str, Duration);

#[test]
fn who_stands_still_harms_nobody_whose_owner_lives_and_keeps_nothing_whose_owner_is_dead() {
    let machine = Machine::take();
    let still = Duration::from_secs(scale("EBBTIDE_TEST_STILL_SECONDS", 8) as u64);
    let (short, longer) = (Duration::from_secs(10), still + Duration::from_secs(4));
    // An owner that has promised heartbeats and sends none counts as gone, so one that stands still has promised none.
    let cases: [Case; 5] = [
        ("the owners", |world| world.owners().map(Program::pid).to_vec(), "", short),
        ("the daemon", |world| vec![world.serve.pid()], "5", longer),
        ("the launcher", |world| world.home.processes("ebb-launcher"), "5", short),
        ("the inits", |world| world.inits(), "5", short),
        (
            "all of them",
            |world| [world.helpers(), world.inits(), world.owners().map(Program::pid).to_vec()].concat(),
            "",
            short,
        ),
    ];
    let homes = [(); 5].map(|()| machine.home());
    std::thread::scope(|scope| {
        for (home, (what, who, heartbeat, daemon_grace)) in homes.iter().zip(cases) {
            scope.spawn(move || {
                home.configure(&format!("[limits]\ndaemon_grace_seconds = {}\n", daemon_grace.as_secs()));
                let world = World::new(home, heartbeat);
                let who = who(&world);
                who.iter().for_each(|pid| kill(*pid, Signal::STOP));
                std::thread::sleep(still);
                who.iter().for_each(|pid| kill(*pid, Signal::CONT));
                world.assert_unharmed(what);
                world.assert_gone_without_help(daemon_grace);
            });
        }
    });
    machine.assert_nothing_left();
}
