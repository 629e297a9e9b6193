//! How long it takes until an image is here, ready to be run from: fetched, checked and unpacked.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::layout::{self, TAG};
use super::registry::Registry;
use crate::Error;
use crate::stats::Samples;

/// How much the files of the image are.
pub(super) const MEBIBYTES: usize = 200;

/// What was measured, in turns.
#[derive(Default)]
pub(super) struct Pulls {
    /// `ebb image pull` into a new home.
    pub(super) ebbtide: Samples,
    /// `skopeo copy` into a new layout, then `umoci unpack`.
    pub(super) skopeo_umoci: Samples,
    /// `podman pull` into new storage.
    pub(super) podman: Samples,
}

pub(super) fn measure(ebb: &Path, rounds: usize) -> Result<Pulls, Error> {
    let place = super::place()?;
    let layout = place.path().join("layout");
    layout::write(&layout, layout::large(MEBIBYTES))?;
    let registry = Registry::start(place.path())?;
    let name = registry.fill(&layout)?;
    let mut pulls = Pulls::default();
    for round in 0..rounds {
        eprint!("\rpulls: {}/{rounds} ", round + 1);
        let at = |name: &str| place.path().join(format!("{name}-{round}"));
        let (home, copy, storage) = (at("home"), at("copy"), at("storage"));
        let mut pull = Command::new(ebb);
        pull.args(["image", "pull", &name]).env("EBBTIDE_HOME", &home);
        pulls.ebbtide.add_round(&[time(&mut [pull])?]);

        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{name}")]);
        skopeo.arg(format!("oci:{}:{TAG}", copy.display()));
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image", &format!("{}:{TAG}", copy.display())]).arg(at("bundle"));
        pulls.skopeo_umoci.add_round(&[time(&mut [skopeo, umoci])?]);

        let mut podman = Command::new("podman");
        podman.arg("--root").arg(&storage).arg("--runroot").arg(at("run"));
        podman.args(["pull", "--quiet", "--tls-verify=false", &name]);
        pulls.podman.add_round(&[time(&mut [podman])?]);
        // It keeps the directory of its layers mounted.
        let _ = rustix::mount::unmount(storage.join("overlay"), rustix::mount::UnmountFlags::DETACH);
        for made in [home, copy, at("bundle"), storage, at("run")] {
            std::fs::remove_dir_all(&made).map_err(Error::io(format!("removing {}", made.display())))?;
        }
    }
    eprintln!();
    Ok(pulls)
}

/// How long these take one after the other. They begin with nothing that is still to be written to the disk.
fn time(commands: &mut [Command]) -> Result<Duration, Error> {
    rustix::fs::sync();
    let started = Instant::now();
    for command in commands {
        run(command)?;
    }
    Ok(started.elapsed())
}

/// Runs a command, which must succeed.
pub(super) fn run(command: &mut Command) -> Result<(), Error> {
    let said = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(format!("running {said}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Unexpected(format!("{said} ({})", String::from_utf8_lossy(&output.stderr).trim())))
}
