//! The machine loses power: whoever runs it kills it without a word, while creates and stops go on.
//!
//! Each start looks first at what the one before has left. `known ID STATE REASON` tells of each sandbox that the home
//! knows; `answered ID` and `stopped ID` tell what a caller was told, so that whoever cuts the power can compare. A serial
//! port cannot take a word back, and writes nothing to the disk that could carry the ledger along.

use std::fs;
use std::thread;

use ebbtide_tests::kernel::Snapshot;

use crate::home::{Home, text};
use crate::{LIMIT, holds, steps};

/// How many callers make sandboxes at once.
const CALLERS: usize = 3;

/// Looks at what is left, and goes on with `then`: `steps`, `churn` or `nothing`.
pub(crate) fn run(then: &str) {
    let snapshot = Snapshot::take();
    let churned = Home::at("churn");
    let mut homes: Vec<Home> = steps::homes();
    homes.extend(churned.state_dir().exists().then(|| churned.clone()));
    for home in &homes {
        after(home, &snapshot);
    }
    if !homes.is_empty() {
        holds(
            "the ledger opens, all has ended with a reason, doctor and the independent reader find nothing",
        );
    }
    for done in steps::homes() {
        fs::remove_dir_all(done.state_dir()).expect("remove a home that was looked at");
    }
    let _held = (then == "steps").then(steps::hold);
    if then != "nothing" {
        churn(&churned);
    }
}

/// What a home knows after the cut; then it must be empty.
fn after(home: &Home, snapshot: &Snapshot) {
    home.wake();
    let mut list = home.list();
    let ended = ebbtide_tests::holds_within(LIMIT, || {
        list = home.list();
        list.iter().all(|sandbox| sandbox["ended_at"].is_string())
    });
    assert!(ended, "alive after the machine was gone: {list:?}");
    for sandbox in &list {
        let reason = text(sandbox, "reason");
        assert!(!reason.is_empty(), "ended without a reason: {sandbox}");
        let reason = reason.split(':').next().unwrap_or_default();
        println!("known {} {} {reason}", text(sandbox, "id"), text(sandbox, "state"));
    }
    home.doctor();
    home.shut_down(snapshot);
}

/// Makes and stops sandboxes until the power is cut.
fn churn(home: &Home) {
    home.wake();
    println!("churning");
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                for turn in caller.. {
                    one(home, turn);
                }
            });
        }
    });
}

fn one(home: &Home, turn: usize) {
    let own = std::process::id().to_string();
    let arguments: &[&str] = match turn % 4 {
        0 => &["--detach"],
        1 => &["--owner", &own],
        2 => &["--detach", "--", "sh", "-c", "sleep 1; exit 5"],
        _ => &["--owner", &own, "--", "sh", "-c", "while :; do echo tick; sleep 0.2; done"],
    };
    let id = home.create(arguments);
    println!("answered {id}");
    if turn % 4 < 2 {
        let _ = home.ebb(["stop", "--grace", "1", &id]).run().exited(0);
        println!("stopped {id}");
    }
}
