//! What `cargo xtask test --vm` runs inside of a virtual machine, where machines may end, sleep and have their clocks set.
//!
//! One scenario for each start of the machine, named by the first argument. It tells on standard output, a serial
//! port, what it has come to, one line each: `check` is something that was seen to hold, other words are told where they
//! are written. It fails by panicking. What has to outlive the machine is on the disk at `/state`.
#![expect(clippy::expect_used, clippy::panic, reason = "a check fails by panicking")]

mod cast;
mod clock;
mod home;
mod power;
mod program;
mod reboot;
mod sleep;
mod steps;

use std::time::Duration;

/// How long anything may take that is bound to happen: the processor is emulated.
const LIMIT: Duration = Duration::from_secs(240);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["reboot"] => reboot::run(),
        ["power", then] => power::run(then),
        ["clock"] => clock::run(),
        ["sleep", state] => sleep::run(state),
        ["own"] => program::own(),
        _ => panic!("{words:?} is no scenario"),
    }
}

/// Tells what was seen to hold.
fn holds(what: &str) {
    println!("check {what}");
}
