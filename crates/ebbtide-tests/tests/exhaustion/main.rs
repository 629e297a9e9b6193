//! What is used up on the host, or broken under the daemon: disk, descriptors, processes, memory, the ledger. Who asks is told
//! what is missing, what is there goes on and ends as it should, and everything settles once there is enough again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bound;
mod descriptors;
mod disk;
mod images;
mod ledger;
mod memory;
mod processes;
mod two_daemons;

use std::path::PathBuf;
use std::time::Duration;

use ebbtide_tests::{Machine, Output, TestHome, eventually};
use serde_json::Value;

/// How long anything may take that is bound to happen.
const LIMIT: Duration = Duration::from_secs(60);

/// A home on a small disk of its own.
fn home_on_disk(machine: &Machine) -> TestHome {
    let home = machine.home().on_disk(700 << 20);
    home.configure("[defaults]\ndisk = \"64Mi\"\n");
    home
}

/// Waits until it has ended.
fn ended(home: &TestHome, id: &str) -> Value {
    eventually("it ends", LIMIT, || {
        let sandbox = home.get(id);
        sandbox["ended_at"].is_string().then_some(sandbox)
    })
}

fn works(home: &TestHome, id: &str) {
    assert_eq!(home.exec(id, "echo alive").run().ok(), "alive", "{id}");
}

/// That a command failed, and said these words.
#[track_caller]
fn says(output: Output, words: &[&str]) {
    let error = output.exited(125).error();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

/// Nothing is left, and each of these ids is known.
fn settled<'a>(home: &TestHome, ids: impl IntoIterator<Item = &'a String>) {
    for id in ids {
        let sandbox = home.get(id);
        assert!(sandbox["state"] == "running" || sandbox["ended_at"].is_string(), "{sandbox}");
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
}

fn ledger(home: &TestHome) -> PathBuf {
    home.state_dir().join("ledger.db")
}
