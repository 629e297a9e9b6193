//! A Python program as a contender: it calls by the public client of the protocol, by Ebbtide's own package, or starts
//! other programs.

use std::path::Path;

use crate::Error;
use crate::daemon::Daemon;
use crate::helper::Helper;

const PROGRAM: &str = include_str!("from_python.py");

/// Starts it, with the package from `packages`. It makes sandboxes for itself, which end with it.
pub(crate) fn start(python: &Path, packages: &Path, daemon: &Daemon) -> Result<Helper, Error> {
    let (url, key) = daemon.address();
    Helper::start_with(|command| {
        command.arg(python).args(["-c", PROGRAM]);
        command.env("CWSANDBOX_BASE_URL", url).env("CWSANDBOX_API_KEY", key);
        // The package finds the daemon by its home, as the Rust client does.
        command.env("PYTHONPATH", packages).env("EBBTIDE_HOME", daemon.state_dir());
        // gRPC would go through a proxy even to this machine.
        command.env("no_proxy", "127.0.0.1");
    })
}

/// A command in its sandbox.
pub(crate) fn by_client(command: &[String]) -> Vec<String> {
    by("client", command)
}

/// The same by Ebbtide's own package.
pub(crate) fn by_package(command: &[String]) -> Vec<String> {
    by("package", command)
}

/// The same, awaited on an event loop.
pub(crate) fn by_package_awaited(command: &[String]) -> Vec<String> {
    by("awaited", command)
}

/// A command that it starts on this machine.
pub(crate) fn by_subprocess(command: &[String]) -> Vec<String> {
    by("subprocess", command)
}

fn by(way: &str, command: &[String]) -> Vec<String> {
    std::iter::once(way.to_owned()).chain(command.iter().cloned()).collect()
}
