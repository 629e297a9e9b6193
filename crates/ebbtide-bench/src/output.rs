//! How fast a command's output arrives, beside a plain pipe from the same program.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ebbtide::Sandbox;

use crate::Error;
use crate::daemon::Daemon;
use crate::stats::Samples;

/// How much is written each time.
pub(crate) const MEBIBYTES: usize = 256;
const ROUNDS: usize = 10;
const SOURCE: [&str; 4] = ["head", "-c", "256M", "/dev/zero"];

/// What was measured, in turns.
#[derive(Default)]
pub(crate) struct Throughput {
    /// From a command in a sandbox, by the Rust client.
    pub(crate) sandbox: Samples,
    /// From a child process, by a pipe.
    pub(crate) pipe: Samples,
}

/// Measures with the sandbox that idles.
pub(crate) async fn measure(daemon: &Daemon, idle: &str) -> Result<Throughput, Error> {
    let sandbox = daemon.handle(idle).await?;
    let mut throughput = Throughput::default();
    for _ in 0..ROUNDS {
        throughput.sandbox.add_round(&[from_sandbox(&sandbox).await?]);
        throughput.pipe.add_round(&[from_pipe()?]);
    }
    Ok(throughput)
}

async fn from_sandbox(sandbox: &Sandbox) -> Result<Duration, Error> {
    let started = Instant::now();
    let process = sandbox.exec(SOURCE).check().start().await?;
    let mut read = 0;
    while let Some(piece) = process.stdout.next().await? {
        read += piece.len();
    }
    process.wait().await?;
    complete(read, started)
}

fn from_pipe() -> Result<Duration, Error> {
    let started = Instant::now();
    let failed = || format!("running `{}`", SOURCE.join(" "));
    let mut child = Command::new(SOURCE[0])
        .args(&SOURCE[1..])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io(failed()))?;
    let mut read = 0;
    if let Some(mut pipe) = child.stdout.take() {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut buffer).map_err(Error::io(failed()))? {
                0 => break,
                length => read += length,
            }
        }
    }
    child.wait().map_err(Error::io(failed()))?;
    complete(read, started)
}

fn complete(read: usize, started: Instant) -> Result<Duration, Error> {
    if read == MEBIBYTES << 20 {
        return Ok(started.elapsed());
    }
    Err(Error::Unexpected(format!("an output of {read} bytes")))
}
