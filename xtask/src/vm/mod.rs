//! `cargo xtask test --vm`: Ebbtide under Debian's own kernels, and on machines that end, sleep and have their clocks set.
//!
//! The machine that develops Ebbtide has one kernel and, often, a hybrid cgroup tree, and cannot be started anew by a test.
//! This boots others under `qemu-system-x86_64` in software emulation, so no hardware support is asked for: a small
//! Debian whose process 1 is systemd, with pure cgroup v2, and in it one unit that runs, as root, the conformance kit of
//! the Linux driver or a scenario of `ebbtide-vm-guest`. Everything is kept in `target/vm`; the Debian root is made once.

mod guest;
mod machine;
mod power;
mod record;
mod report;
mod scenario;

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Need};
use crate::workspace::{self, Workspace};
use crate::{Error, process, test};
use machine::Parts;
use record::Run;
use scenario::SCENARIOS;

const NEEDS: [Need; 4] = [
    Need { file: "/usr/bin/qemu-system-x86_64", package: "qemu-system-x86" },
    Need { file: "/usr/bin/mmdebstrap", package: "mmdebstrap" },
    Need { file: "/sbin/mke2fs", package: "e2fsprogs" },
    Need { file: BUSYBOX, package: "busybox-static" },
];

/// The programs of the images that the tests write.
const BUSYBOX: &str = "/bin/busybox";

/// What is to be run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// Only under the kernel of this version.
    pub(crate) kernel: Option<&'a str>,
    /// Only this scenario.
    pub(crate) scenario: Option<&'a str>,
    /// With what the last run has built.
    pub(crate) as_built: bool,
}

/// Runs what is chosen; then writes docs/vm.md, with the last result of each scenario under each kernel.
pub(crate) fn run(workspace: &Workspace, choice: Choice<'_>) -> Result<(), Error> {
    apt::install(&NEEDS)?;
    let directory = workspace.target.join("vm");
    workspace::make_dir(&directory)?;
    let payload = directory.join("payload.img");
    let built_from = directory.join("payload.source");
    if !choice.as_built {
        let source = process::output(&mut process::command("git", ["describe", "--always", "--dirty"]))?;
        make_payload(workspace, &directory, &payload)?;
        fs::write(&built_from, source).map_err(Error::file("could not write", &built_from))?;
    }
    let source = fs::read_to_string(&built_from).map_err(Error::file("could not read", &built_from))?;
    let guest = guest::Guest::prepare(&directory)?;
    let mut runs = Vec::new();
    for kernel in guest.kernels(choice.kernel)? {
        let parts = Parts { directory: &directory, guest: &guest, kernel: &kernel, payload: &payload };
        for scenario in SCENARIOS.iter().filter(|(name, ..)| choice.scenario.is_none_or(|one| one == *name)) {
            let run = scenario::run(&parts, scenario, source.trim())?;
            run.keep(&directory)?;
            run.faults.iter().for_each(|fault| eprintln!("Linux {}: {fault}", kernel.version));
            runs.push(run);
        }
    }
    report::write(&workspace.root.join("docs/vm.md"), &Run::all(&directory)?)?;
    let failed = runs.iter().filter(|run| !run.passed());
    let failed: Vec<String> = failed.map(|run| format!("{} ({})", run.kernel, run.scenario)).collect();
    match (runs.is_empty(), failed.is_empty()) {
        (false, true) => Ok(()),
        (true, _) => Err(Error::VmFailed {
            kernels: "(nothing was run: no such kernel or scenario)".to_owned(),
            directory,
        }),
        (false, false) => Err(Error::VmFailed { kernels: failed.join(", "), directory }),
    }
}

/// A disk with what is to be run inside: the kit's test binary, the program of the scenarios, the `ebb` that both start,
/// one with fail points, programs for images, a script.
fn make_payload(workspace: &Workspace, directory: &Path, disk: &Path) -> Result<(), Error> {
    let fail_points = test::build_with_fail_points(workspace)?;
    process::run(&mut workspace.cargo(["build", "--package=ebb", "--bin=ebb"]))?;
    process::run(&mut workspace.cargo(["build", "--package=ebbtide-tests", "--bin=ebbtide-vm-guest"]))?;
    let conformance = test_binary(workspace, "ebbtide-linux", "conformance")?;
    let files =
        tempfile::tempdir_in(directory).map_err(Error::file("could not make a directory in", directory))?;
    let place = |from: &Path, name: &str| workspace::copy_executable(from, &files.path().join(name));
    place(&workspace.debug_binary("ebb"), "ebb")?;
    place(&fail_points, "ebb-fail-points")?;
    place(&workspace.debug_binary("ebbtide-vm-guest"), "guest")?;
    place(&conformance, "conformance")?;
    place(Path::new(BUSYBOX), "busybox")?;
    guest::write_script(&files.path().join("run"))?;
    guest::make_disk(files.path(), disk, "1G")
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
