//! A Python program as a contender: it calls by the public client of the protocol, or starts other programs.

use std::path::Path;

use crate::Error;
use crate::daemon::Daemon;
use crate::helper::Helper;

const PROGRAM: &str = include_str!("from_python.py");

/// Starts it. It makes a sandbox for itself, which ends with it.
pub(crate) fn start(python: &Path, daemon: &Daemon) -> Result<Helper, Error> {
    let (url, key) = daemon.address();
    Helper::start_with(|command| {
        command.arg(python).args(["-c", PROGRAM]);
        command.env("CWSANDBOX_BASE_URL", url).env("CWSANDBOX_API_KEY", key);
        // gRPC would go through a proxy even to this machine.
        command.env("no_proxy", "127.0.0.1");
    })
}

/// A command in its sandbox.
pub(crate) fn by_client(command: &[String]) -> Vec<String> {
    by("client", command)
}

/// A command that it starts on this machine.
pub(crate) fn by_subprocess(command: &[String]) -> Vec<String> {
    by("subprocess", command)
}

fn by(way: &str, command: &[String]) -> Vec<String> {
    std::iter::once(way.to_owned()).chain(command.iter().cloned()).collect()
}
