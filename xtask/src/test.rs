//! `cargo xtask test`: installs what the tests need, then every check, the cheap ones first.
//!
//! The end-to-end tests run the real `ebb`. They get two builds of it: the plain one, and one with fail points,
//! which lets a test kill the daemon at a named step. The second is built in the same target directory and copied
//! away, because cargo shares every dependency between the two; a directory of its own would build them all twice.

use clap::Args;

use crate::apt::{self, Need};
use crate::workspace::{self, Workspace};
use crate::{Error, api, process, public_client, python, venv, vm};

/// What to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Run the conformance kit of the Linux driver in virtual machines with Debian's own kernels instead; and what can
    /// happen to a machine: a new start, a cut of the power, another time, sleep.
    #[arg(long)]
    vm: bool,
    /// With --vm: only the kernel of this version, e.g. 6.1.
    #[arg(long, requires = "vm")]
    kernel: Option<String>,
    /// With --vm: only this, of conformance, reboot, power, clock and sleep.
    #[arg(long, requires = "vm")]
    scenario: Option<String>,
    /// With --vm: run what the last run has built.
    #[arg(long, requires = "vm")]
    as_built: bool,
    /// Run the long proofs instead, which the tests hold a short version of: five hundred deaths of the daemon, five
    /// hundred rounds of a hundred first calls, 64 streams of 100 MB, ten minutes of arbitrary requests, a minute without a
    /// network, and the minutes until an end that is gone is known to be, a thousand sandboxes one after the other,
    /// everything stopped for two minutes. Takes an hour.
    #[arg(long, conflicts_with = "vm")]
    long: bool,
    /// Run only the tests of the public Python client, with every version of it that is supported.
    #[arg(long, conflicts_with_all = ["vm", "long", "filter"])]
    client: bool,
    /// Run only the checks and tests of the Python package.
    #[arg(long, conflicts_with_all = ["vm", "long", "client", "filter"])]
    python: bool,
    /// Run only the tests that match, handed on to the test runner; skips the lints and the documentation.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// What the tests call beside a Rust toolchain and a C compiler.
const NEEDS: [Need; 11] = [
    // Not the minimal one: what a sandbox is tried with needs ctypes.
    Need { file: "/usr/bin/pydoc3", package: "python3" },
    Need { file: "/usr/bin/pgrep", package: "procps" },
    Need { file: "/usr/bin/nsenter", package: "util-linux" },
    Need { file: "/usr/sbin/ip", package: "iproute2" },
    Need { file: "/usr/sbin/losetup", package: "mount" },
    Need { file: "/usr/sbin/mkfs.ext4", package: "e2fsprogs" },
    Need { file: "/usr/bin/tmux", package: "tmux" },
    // The programs of images that tests write themselves.
    Need { file: "/bin/busybox", package: "busybox-static" },
    // What makes images and unpacks them, to compare with.
    Need { file: "/usr/bin/skopeo", package: "skopeo" },
    Need { file: "/usr/bin/umoci", package: "umoci" },
    // A registry, which its package may start: the tests have each their own, at another port.
    Need { file: "/usr/bin/docker-registry", package: "docker-registry" },
];

/// The tests that prove more the longer they run.
const LONG: [&str; 9] = [
    "test",
    "--package=ebbtide-tests",
    "--test=churn",
    "--test=crash",
    "--test=first_calls",
    "--test=fuzz",
    "--test=network",
    "--test=ownership",
    "--test=streams",
];
const LONG_SCALE: [(&str, &str); 9] = [
    ("EBBTIDE_TEST_DEATHS", "500"),
    ("EBBTIDE_TEST_ROUNDS", "500"),
    ("EBBTIDE_TEST_CALLERS", "100"),
    ("EBBTIDE_TEST_FUZZ_SECONDS", "600"),
    ("EBBTIDE_TEST_STREAM_MEGABYTES", "100"),
    ("EBBTIDE_TEST_CUT_SECONDS", "60"),
    ("EBBTIDE_TEST_SILENCE_SECONDS", "400"),
    ("EBBTIDE_TEST_CHURN", "1000"),
    ("EBBTIDE_TEST_STILL_SECONDS", "120"),
];

/// Runs the checks.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    if options.vm {
        let (kernel, scenario) = (options.kernel.as_deref(), options.scenario.as_deref());
        return vm::run(&workspace, vm::Choice { kernel, scenario, as_built: options.as_built });
    }
    apt::install(&NEEDS)?;
    let everything = options.filter.is_empty() && !options.long;
    if everything {
        venv::install_needs()?;
    }
    if options.client {
        process::run(&mut workspace.cargo(["build", "--bin=ebb"]))?;
        return public_client::run(&workspace);
    }
    if options.python {
        python::check(&workspace)?;
        process::run(&mut workspace.cargo(["build", "--workspace", "--bins", "--lib"]))?;
        return python::test(&workspace);
    }
    if everything {
        lint(&workspace)?;
    }
    let fail_points = build(&workspace)?;
    if everything {
        process::run(&mut workspace.cargo(["test", "--workspace", "--doc", "--quiet"]))?;
    }
    let mut tests = if options.long {
        let mut tests = workspace.cargo(LONG);
        tests.envs(LONG_SCALE);
        tests
    } else if process::succeeds(&mut workspace.cargo(["nextest", "--version"])) {
        workspace.cargo(["nextest", "run", "--workspace", "--all-targets"])
    } else {
        workspace.cargo(["test", "--workspace", "--all-targets", "--no-fail-fast"])
    };
    tests.env("EBB_BIN", workspace.debug_binary("ebb")).env("EBB_FAIL_POINTS_BIN", fail_points);
    process::run(tests.args(&options.filter))?;
    if everything {
        python::test(&workspace)?;
        public_client::run(&workspace)?;
    }
    Ok(())
}

fn lint(workspace: &Workspace) -> Result<(), Error> {
    for component in ["fmt", "clippy"] {
        if !process::succeeds(&mut workspace.cargo([component, "--version"])) {
            let package = if component == "fmt" { "rustfmt" } else { component };
            process::run(&mut process::command("rustup", ["component", "add", package]))?;
        }
    }
    process::run(&mut workspace.cargo(["fmt", "--check"]))?;
    process::run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    process::run(
        workspace.cargo(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    api::check(workspace)?;
    python::check(workspace)
}

/// Builds everything; returns where the `ebb` with fail points is.
fn build(workspace: &Workspace) -> Result<std::path::PathBuf, Error> {
    let fail_points = build_with_fail_points(workspace)?;
    process::run(&mut workspace.cargo(["build", "--workspace", "--all-targets"]))?;
    Ok(fail_points)
}

/// Builds an `ebb` that can be made to die at a named step; returns where it is.
pub(crate) fn build_with_fail_points(workspace: &Workspace) -> Result<std::path::PathBuf, Error> {
    process::run(&mut workspace.cargo(["build", "--workspace", "--bin=ebb", "--features=ebb/fail-points"]))?;
    let fail_points = workspace.target.join("fail-points").join("ebb");
    workspace::copy_executable(&workspace.debug_binary("ebb"), &fail_points)?;
    Ok(fail_points)
}
