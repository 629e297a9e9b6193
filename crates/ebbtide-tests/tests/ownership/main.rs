//! Nothing outlives its owner, and everybody can see who that is: orphans, adoption, keeping, pauses, purges.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod forgotten;
mod keeping;
mod leftovers;
mod main_end;
mod missed;
mod network;
mod orphans;
mod pausing;
mod program;
mod purging;
mod standstill;
mod stopped;
mod terminated;
mod words;

use std::time::Duration;

use ebbtide_tests::{TestHome, eventually};
use serde_json::Value;

/// How long anything may take that is bound to happen.
const LIMIT: Duration = Duration::from_secs(60);

/// What `ebb list` says of this kind: the ids.
fn orphans(home: &TestHome) -> Vec<String> {
    let listed = home.ebb(["list", "--orphaned", "--json"]).run().json();
    let ids = |sandbox: &Value| sandbox["id"].as_str().unwrap().to_owned();
    listed["sandboxes"].as_array().unwrap().iter().map(ids).collect()
}

/// Waits until nobody stands for it any more.
fn orphaned(home: &TestHome, id: &str) -> Value {
    eventually("its owner is missed", LIMIT, || {
        let sandbox = home.get(id);
        (sandbox["ownership"]["kind"] == "orphaned").then_some(sandbox)
    })
}

/// Waits until it has ended.
fn ended(home: &TestHome, id: &str) -> Value {
    eventually("it ends", LIMIT, || {
        let sandbox = home.get(id);
        sandbox["ended_at"].is_string().then_some(sandbox)
    })
}
