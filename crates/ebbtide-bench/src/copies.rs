//! How fast files go into a sandbox and out of it by `ebb cp`, beside `cp` on the disk that the home is on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::daemon::Daemon;
use crate::stats::Samples;

/// The size of the file.
pub(crate) const MEBIBYTES: usize = 256;
const ROUNDS: usize = 5;

/// What was measured, in turns.
#[derive(Default)]
pub(crate) struct Copies {
    /// `ebb cp` into a sandbox.
    pub(crate) into: Samples,
    /// `ebb cp` out of it.
    pub(crate) out: Samples,
    /// `cp`.
    pub(crate) plain: Samples,
}

/// Measures with the sandbox that idles; `place` is a directory for the files.
pub(crate) fn measure(daemon: &Daemon, idle: &str, place: &Path) -> Result<Copies, Error> {
    let at = |name: &str| place.join(name).to_string_lossy().into_owned();
    let (source, copy, inside) = (at("source"), at("copy"), format!("{idle}:/var/tmp/copy"));
    // Not zeros: a file system may know how to keep those for nothing.
    let noise: Vec<u8> =
        (0..(MEBIBYTES as u32) << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&source, &noise).map_err(Error::io("writing a file to copy"))?;
    drop(noise);
    let mut copies = Copies::default();
    for _ in 0..ROUNDS {
        copies.into.add_round(&[time(&mut daemon.command(&["cp", &source, &inside]))?]);
        copies.out.add_round(&[time(&mut daemon.command(&["cp", &inside, &copy]))?]);
        fs::remove_file(&copy).map_err(Error::io("removing a copy"))?;
        copies.plain.add_round(&[time(Command::new("cp").args(["--reflink=never", &source, &copy]))?]);
        fs::remove_file(&copy).map_err(Error::io("removing a copy"))?;
    }
    fs::remove_file(&source).map_err(Error::io("removing a file"))?;
    Ok(copies)
}

fn time(command: &mut Command) -> Result<Duration, Error> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(Error::io("copying a file"))?;
    let taken = started.elapsed();
    if output.status.success() {
        return Ok(taken);
    }
    Err(Error::Unexpected(format!("{command:?} ({})", String::from_utf8_lossy(&output.stderr))))
}
