//! Processes that are asked to end (SIGTERM), one kind at a time and all together: who lives keeps what is theirs, and what
//! the dead leave goes.

use std::time::Duration;

use ebbtide_tests::command::kill;
use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, Program, TestHome, eventually};
use rustix::process::Signal;

use crate::{LIMIT, ended, program};

/// A home with two owners. One of them comes to its end in any case, the other in none.
struct World<'a> {
    home: &'a TestHome,
    goes: Program,
    stays: Program,
}

impl<'a> World<'a> {
    fn new(home: &'a TestHome) -> Self {
        let owner = || program::at_home(home, &[("TEST_ORPHAN_GRACE", "2")]);
        Self { home, goes: owner(), stays: owner() }
    }

    fn inits(&self) -> [u32; 2] {
        [&self.goes, &self.stays].map(|owner| self.home.init_of(&owner.id))
    }

    fn daemon(&self) -> Vec<u32> {
        self.home.daemon().into_iter().collect()
    }

    fn launcher(&self) -> Vec<u32> {
        self.home.processes("ebb-launcher")
    }

    fn everybody(&self) -> Vec<u32> {
        [self.daemon(), self.launcher(), self.inits().to_vec(), vec![self.goes.pid()]].concat()
    }

    fn assert_unharmed(&self, owner: &Program, what: &str) {
        eventually(&format!("{what} had to end, and it has an owner"), LIMIT, || {
            let sandbox = self.home.get(&owner.id);
            assert!(sandbox["ended_at"].is_null(), "{what} had to end: {sandbox}");
            (sandbox["ownership"]["kind"] == "owned").then_some(())
        });
        assert_eq!(self.home.exec(&owner.id, "echo alive").run().ok(), "alive", "{what} had to end");
    }
}

/// Who is asked to end, and what they are called.
type Case = (&'static str, fn(&World<'_>) -> Vec<u32>);

const CASES: [Case; 5] = [
    ("the owner", |world| vec![world.goes.pid()]),
    ("the daemon", |world| world.daemon()),
    ("the launcher", |world| world.launcher()),
    ("the inits", |world| world.inits().to_vec()),
    ("all of them", |world| world.everybody()),
];

fn check(home: &TestHome, (what, who): Case) {
    let world = World::new(home);
    let [goes, stays] = world.inits();
    let who = who(&world);
    who.iter().for_each(|pid| kill(*pid, Signal::TERM));
    // An init does not end because somebody asks it to.
    let mortal = who.iter().filter(|pid| ![goes, stays].contains(*pid));
    for pid in mortal {
        eventually(&format!("{what}: process {pid} ends"), LIMIT, || (!is_alive(*pid)).then_some(()));
    }
    if !who.contains(&world.goes.pid()) {
        // Longer than the grace of either.
        std::thread::sleep(Duration::from_secs(3));
        for owner in [&world.goes, &world.stays] {
            world.assert_unharmed(owner, what);
        }
        world.goes.signal(Signal::TERM);
    }
    // With no command meanwhile.
    eventually(&format!("{what}: what the owner has left goes"), LIMIT, || (!is_alive(goes)).then_some(()));
    assert!(is_alive(stays), "{what}: its neighbour went with it");
    assert_eq!(ended(home, &world.goes.id)["end"]["reason"], "owner_gone", "{what}");
    world.assert_unharmed(&world.stays, what);
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
}

#[test]
fn who_is_asked_to_end_harms_nobody_whose_owner_lives_and_keeps_nothing_whose_owner_is_dead() {
    let machine = Machine::take();
    let homes = CASES.map(|case| (machine.home(), case));
    std::thread::scope(|scope| {
        for (home, case) in &homes {
            scope.spawn(|| check(home, *case));
        }
    });
    machine.assert_nothing_left();
}
