//! Everything at random: owners, daemon, launcher and inits are killed, stopped and terminated, alone and together, among
//! creates, execs, stops and purges, by a schedule that follows from a seed.
//!
//! `cargo xtask torture --seed N --minutes M` runs this for longer and goes on where the last run of that seed ended.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod check;
mod commands;
mod owners;
mod record;
mod schedule;
mod signals;
mod world;

use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ebbtide_tests::{Machine, TestHome, command, scale};
use record::{Outcome, Record};
use schedule::ROUND;
use world::{World, held};

/// No command takes longer.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn whatever_dies_in_whatever_order_nothing_outlives_its_owner_and_no_living_owner_loses_its_sandbox() {
    let number = |name: &str, default: usize| scale(name, default) as u64;
    let seed = number("EBBTIDE_TORTURE_SEED", 1);
    let seconds = number("EBBTIDE_TORTURE_SECONDS", 0);
    let mut record = Record::open();
    let began = Instant::now();
    // Without a time: the first steps of the seed, and no more.
    let only = steps().or_else(|| (seconds == 0).then_some(0..ROUND / 4));
    let machine = Machine::take();
    loop {
        let first = record.next_step(seed);
        let steps = only.clone().unwrap_or(first..first + ROUND);
        let outcome = round(&machine, seed, steps.clone());
        println!("seed {seed}, steps {}..{}: {}", steps.start, steps.end, outcome.line());
        record.add(seed, &outcome);
        if !(outcome.leaks.is_empty() && outcome.lost.is_empty()) {
            fail(seed, &steps, &outcome);
        }
        if only.is_some() || began.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    println!("all seeds: {}", record.total().line());
}

/// The steps that the environment names: `A..B`.
fn steps() -> Option<Range<u64>> {
    let text = std::env::var("EBBTIDE_TORTURE_STEPS").ok()?;
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let (from, to) = ends.unwrap_or_else(|| panic!("EBBTIDE_TORTURE_STEPS={text} is not A..B"));
    Some(from..to)
}

fn fail(seed: u64, steps: &Range<u64>, outcome: &Outcome) -> ! {
    outcome.log.iter().for_each(|line| println!("{line}"));
    panic!(
        "left behind: {:#?}\nlost: {:#?}\nagain, or a part of it: cargo xtask torture --seed {seed} --steps {}..{}",
        outcome.leaks, outcome.lost, steps.start, steps.end
    );
}

/// Runs a stretch of a schedule in a home of its own, and looks at everything.
fn round(machine: &Machine, seed: u64, steps: Range<u64>) -> Outcome {
    let home = home(machine);
    let program = home.binary().to_owned();
    home.configure(&format!("[limits]\nowner_grace_seconds = {}\n", check::GRACE.as_secs()));
    let world = World::new(&home, program, format!("torture-{seed}-{}", steps.start));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                world.watch();
                thread::sleep(Duration::from_millis(5));
            }
        });
        thread::scope(|scope| {
            for step in steps.clone().map(|number| schedule::step(seed, number)) {
                world.act(&step, scope);
                thread::sleep(step.then);
            }
        });
        world.check();
        world.end((steps.start / ROUND).is_multiple_of(2));
        over.store(true, Ordering::Relaxed);
    });
    world.nothing_left(machine);
    std::mem::take(&mut *held(&world.outcome))
}

/// A home with a program of its own, which can be replaced.
fn home(machine: &Machine) -> TestHome {
    let home = machine.home();
    let program = home.directory().join("ebb");
    let from = match std::env::var_os("EBB_FAIL_POINTS_BIN") {
        Some(path) => path.into(),
        None => command::binary(),
    };
    fs::copy(from, &program).expect("copy ebb");
    home.with_binary(program)
}
