//! `cargo xtask test --vm`: the conformance kit of the Linux driver under Debian's own kernels.
//!
//! The machine that develops Ebbtide has one kernel and, often, a hybrid cgroup tree. This boots others under
//! `qemu-system-x86_64` in software emulation, so no hardware support is asked for: a small Debian whose process 1
//! is systemd, with pure cgroup v2, and in it one unit that runs the kit's test binary as root. Everything is kept
//! in `target/vm`; the Debian root is made once.

mod guest;
mod machine;
mod report;

use std::path::{Path, PathBuf};

use crate::apt::{self, Need};
use crate::workspace::{self, Workspace};
use crate::{Error, process};

const NEEDS: [Need; 4] = [
    Need { file: "/usr/bin/qemu-system-x86_64", package: "qemu-system-x86" },
    Need { file: "/usr/bin/mmdebstrap", package: "mmdebstrap" },
    Need { file: "/sbin/mke2fs", package: "e2fsprogs" },
    Need { file: BUSYBOX, package: "busybox-static" },
];

/// The programs of the images that the tests write.
const BUSYBOX: &str = "/bin/busybox";

/// Runs the kit under the kernel of the version `only`, or under every one that there is, and then writes docs/vm.md.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<(), Error> {
    apt::install(&NEEDS)?;
    let directory = workspace.target.join("vm");
    workspace::make_dir(&directory)?;
    let payload = payload(workspace, &directory)?;
    let guest = guest::Guest::prepare(&directory)?;
    let mut runs = Vec::new();
    for kernel in guest.kernels(only)? {
        runs.push(machine::run(&directory, &guest, &kernel, &payload)?);
    }
    if only.is_none() {
        report::write(&workspace.root.join("docs/vm.md"), &runs)?;
    }
    let failed: Vec<&str> = runs.iter().filter(|run| !run.passed()).map(|run| run.kernel.as_str()).collect();
    if runs.is_empty() || !failed.is_empty() {
        let kernels = if runs.is_empty() { "(no kernel matches)".to_owned() } else { failed.join(", ") };
        return Err(Error::VmFailed { kernels, directory });
    }
    Ok(())
}

/// A disk with what is to be run inside: the test binary, the `ebb` that it starts as its launcher, programs for images,
/// a script.
fn payload(workspace: &Workspace, directory: &Path) -> Result<PathBuf, Error> {
    process::run(&mut workspace.cargo(["build", "--package=ebb", "--bin=ebb"]))?;
    let conformance = test_binary(workspace, "ebbtide-linux", "conformance")?;
    let files =
        tempfile::tempdir_in(directory).map_err(Error::file("could not make a directory in", directory))?;
    let place = |from: &Path, name: &str| workspace::copy_executable(from, &files.path().join(name));
    place(&workspace.debug_binary("ebb"), "ebb")?;
    place(&conformance, "conformance")?;
    place(Path::new(BUSYBOX), "busybox")?;
    guest::write_script(&files.path().join("run"))?;
    let disk = directory.join("payload.img");
    guest::make_disk(files.path(), &disk, "1G")?;
    Ok(disk)
}

/// Builds an integration test and asks cargo where it has put it.
fn test_binary(workspace: &Workspace, package: &str, test: &str) -> Result<PathBuf, Error> {
    let messages = process::output(&mut workspace.cargo([
        "test",
        "--package",
        package,
        "--test",
        test,
        "--no-run",
        "--message-format=json",
    ]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| Error::Unexpected { program: "cargo test", what: format!("no executable for {test}") })
}
