//! The daemon dies at every named step of what changes a sandbox, and at random: what a caller was told holds, nothing that
//! was ever answered is unknown afterwards, and nothing is left.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

mod changes;
mod keeping;
mod life;
mod owners;
mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide::{Client, ConnectOptions, Connection, Error, HomeLocation, Target};
use ebbtide_tests::command::kill;
use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Running, TestHome, eventually, holds_within};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// The places where the daemon can be made to die, as its source lists them.
const FAIL_POINTS: &[&str] = ebbtide_control::FAIL_POINTS;

/// Those of one kind of step.
fn points(kind: &str) -> impl Iterator<Item = &'static str> {
    FAIL_POINTS.iter().copied().filter(move |point| point.starts_with(kind))
}

fn sandboxes(home: &TestHome) -> BTreeMap<String, Value> {
    let list = home.ebb(["list", "--all", "--json"]).run().json();
    let list = list["sandboxes"].as_array().cloned().unwrap_or_default();
    list.into_iter().map(|sandbox| (sandbox["id"].as_str().unwrap_or_default().to_owned(), sandbox)).collect()
}

/// A daemon that dies at a step.
struct Doomed {
    serve: Running,
    point: &'static str,
}

impl Doomed {
    /// Starts it in the place of the one that runs, and waits until it can be called.
    fn start(home: &TestHome, point: &'static str) -> Self {
        if home.daemon().is_some() {
            home.kill_daemon();
        }
        let serve =
            home.ebb(["serve"]).env("EBBTIDE_FAIL_POINT", point).limit(Duration::from_secs(300)).spawn();
        let pid = serve.pid();
        eventually(&format!("the daemon listens that dies at {point}"), LIMIT, || {
            (home.daemon() == Some(pid) && home.run_dir_if_any()?.join("ebb.sock").exists()).then_some(())
        });
        Self { serve, point }
    }

    fn lives(&self) -> bool {
        is_alive(self.serve.pid())
    }

    /// Waits until it has died there.
    fn assert_died(self) {
        let died = holds_within(LIMIT, || !self.lives());
        if !died {
            kill(self.serve.pid(), Signal::TERM);
        }
        let point = self.point;
        assert!(died, "{point} was never reached");
        assert_eq!(self.serve.wait().code(), 137, "{point}: the daemon ended in another way");
    }

    /// Waits for its end, wherever that was.
    fn wait(self) {
        let _ = self.serve.wait();
    }
}

/// A call that is made once: who makes it is told nothing when the daemon dies in the middle, and does not ask again.
fn call_once<T>(home: &TestHome, call: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T, Error> {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { call(Connection::to(Target::Home(location), options).client().await?).await })
}

/// Whether what the record says is what the sandbox does: it runs a command, or says that it is paused.
fn assert_true(home: &TestHome, id: &str, state: &str, point: &str) {
    let command = home.exec(id, "echo alive").run();
    match state {
        "running" => assert_eq!(command.ok(), "alive", "{point}"),
        _ => assert!(command.exited(125).error().contains("ebb resume"), "{point}: {state}"),
    }
}
