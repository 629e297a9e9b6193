//! The Rust client as a program uses it, against a real daemon.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocking;
mod files;
mod life;
mod logs;
mod ownership;
mod process;
mod readme;
mod session;
mod shell;

use ebbtide::{ConnectOptions, Connection, HomeLocation, Sandbox, SandboxBuilder, Target};
use ebbtide_tests::TestHome;

/// The way to the daemon of a test's home.
fn connection(home: &TestHome) -> Connection {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    Connection::to(Target::Home(location), options)
}

/// A sandbox to be made there.
fn builder(home: &TestHome) -> SandboxBuilder {
    Sandbox::builder().connection(connection(home))
}

/// The ids of these, in order.
fn ids(sandboxes: &[Sandbox]) -> Vec<String> {
    let mut ids: Vec<_> = sandboxes.iter().filter_map(Sandbox::id).collect();
    ids.sort();
    ids
}
