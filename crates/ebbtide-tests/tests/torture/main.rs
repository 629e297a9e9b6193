//! Everything at random: owners of all kinds, daemon, launcher and inits are killed, stopped and terminated, alone and
//! together, networks, disks and descriptors fail, among creates, adoptions, pauses, stops and purges, by a schedule that
//! follows from a seed.
//!
//! `cargo xtask torture --seed N --minutes M` runs this for longer and goes on where the last run of that seed ended.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod check;
mod commands;
mod faults;
mod holder;
mod model;
mod network;
mod owners;
mod ownership;
mod policy;
mod record;
mod schedule;
mod shrink;
mod signals;
mod stretch;
mod verdict;
mod world;

use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ebbtide_tests::{Machine, TestHome, command, holds_within, scale};
use holder::Elsewhere;
use network::Network;
use record::{Outcome, Record};
use schedule::ROUND;
use stretch::Stretch;
use world::{World, held};

/// No command takes longer.
const LIMIT: Duration = Duration::from_secs(90);
/// The disk of a home. Sparse: what is written to it is a fraction of that.
const DISK: u64 = 2 << 30;
/// How many steps there are in a run that nobody has asked to be long.
const SHORT: u64 = 150;

#[test]
fn whatever_dies_in_whatever_order_nothing_outlives_its_owner_and_no_living_owner_loses_its_sandbox() {
    let number = |name: &str, default: usize| scale(name, default) as u64;
    let seed = number("EBBTIDE_TORTURE_SEED", 1);
    let limit = Duration::from_secs(number("EBBTIDE_TORTURE_SECONDS", 0));
    let shrinking = Duration::from_secs(number("EBBTIDE_TORTURE_SHRINK_SECONDS", 0));
    let mut record = Record::open();
    let began = Instant::now();
    // Without a time: the first steps of the seed, and no more.
    let short = limit.is_zero().then(|| Stretch { seed, steps: (0..SHORT).collect() });
    let only = Stretch::named(seed).or(short);
    let machine = Machine::take();
    loop {
        let first = record.next_step(seed);
        let next = || Stretch { seed, steps: (first..first + ROUND).collect() };
        let stretch = only.clone().unwrap_or_else(next);
        let outcome = round(&machine, &stretch);
        println!("seed {}, steps {}: {}", stretch.seed, stretch.words(), outcome.line());
        if only.is_none() {
            record.add(seed, &outcome);
        }
        if !outcome.is_clean() {
            machine.clear();
            fail(&machine, &stretch, &outcome, shrinking);
        }
        if only.is_some() || began.elapsed() > limit {
            break;
        }
    }
    println!("all seeds: {}", record.total().line());
}

/// Says what is wrong, and if there is time for it what the smallest part of the schedule is that still shows it.
fn fail(machine: &Machine, stretch: &Stretch, outcome: &Outcome, shrinking: Duration) -> ! {
    // Before what was done, which is long, and once more at the very end: whoever shows a part shows it.
    println!("left behind: {:#?}\nlost: {:#?}", outcome.leaks, outcome.lost);
    outcome.log.iter().for_each(|line| println!("{line}"));
    let until = Instant::now() + shrinking;
    let mut last = None;
    let steps = shrink::shrink(&stretch.steps, |steps| {
        if Instant::now() >= until {
            return None;
        }
        let part = Stretch { seed: stretch.seed, steps: steps.to_vec() };
        let outcome = round(machine, &part);
        println!("{} of {} steps: {}", steps.len(), stretch.steps.len(), outcome.line());
        let fails = !outcome.is_clean();
        if fails {
            machine.clear();
            last = Some(outcome);
        }
        Some(fails)
    });
    let small = Stretch { seed: stretch.seed, steps };
    if let Some(outcome) = &last {
        println!("what is left of it:\n{}", small.write());
        outcome.log.iter().for_each(|line| println!("{line}"));
    }
    let Outcome { leaks, lost, .. } = last.as_ref().unwrap_or(outcome);
    let again = match record::save(&small) {
        Some(path) => format!("--schedule {}", path.display()),
        None => format!("--seed {} --steps {}", small.seed, small.words()),
    };
    panic!("left behind: {leaks:#?}\nlost: {lost:#?}\nagain: cargo xtask torture {again}");
}

/// Runs a stretch of a schedule in a home of its own, and looks at everything.
fn round(machine: &Machine, stretch: &Stretch) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| torture(machine, stretch)));
    let mut outcome = outcome.unwrap_or_else(|_| Outcome {
        leaks: vec!["the test itself has failed; what it said is above".to_owned()],
        ..Outcome::default()
    });
    let mut left = Vec::new();
    holds_within(Duration::from_secs(15), || {
        left = machine.left();
        left.is_empty()
    });
    outcome.leaks.extend(left);
    outcome
}

fn torture(machine: &Machine, stretch: &Stretch) -> Outcome {
    let home = home(machine);
    let (network, elsewhere) = listen(&home);
    let (seed, first) = (stretch.seed, stretch.steps.first().copied().unwrap_or_default());
    let world =
        World::new(&home, home.binary().to_owned(), format!("torture-{seed}-{first}"), network, elsewhere);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also where what follows panics: the watch would have no end then.
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                world.watch();
                thread::sleep(Duration::from_millis(5));
            }
        });
        thread::scope(|scope| {
            for step in stretch.steps.iter().map(|number| schedule::step(seed, *number)) {
                world.act(&step, scope);
                thread::sleep(step.then);
            }
            // One that is stopped answers nobody who waits for it.
            world.continue_owners();
        });
        world.check();
        world.end((first / ROUND).is_multiple_of(2));
    });
    home.shutdown();
    world.reap();
    std::mem::take(&mut *held(&world.outcome))
}

/// Says when it is dropped that something is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A home on a disk of its own, with a program of its own, which can be replaced.
fn home(machine: &Machine) -> TestHome {
    let home = machine.home().on_disk(DISK);
    let program = home.directory().join("ebb");
    let from = match std::env::var_os("EBB_FAIL_POINTS_BIN") {
        Some(path) => path.into(),
        None => command::binary(),
    };
    fs::copy(from, &program).expect("copy ebb");
    home.with_binary(program)
}

/// A network for those elsewhere; every daemon of the home listens on it.
fn listen(home: &TestHome) -> (Network, Elsewhere) {
    let network = Network::new();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port();
    home.configure(&format!(
        "[limits]\nowner_grace_seconds = {}\ndaemon_grace_seconds = {}\n[defaults]\ndisk = \"64Mi\"\n\
         [server]\nlisten = [\"127.0.0.1:{port}\", \"{}:{port}\"]\ninsecure = true\n",
        check::GRACE.as_secs(),
        check::DAEMON_GRACE.as_secs(),
        network.here(),
    ));
    let key = home.ebb(["key", "create", "--json", "--organization", "elsewhere"]).run().json();
    let key = key["key"].as_str().expect("a key").to_owned();
    // Those elsewhere cannot start a daemon; a listing does.
    let _ = home.ebb(["list"]).run().exited(0);
    (network, Elsewhere { port, key })
}
