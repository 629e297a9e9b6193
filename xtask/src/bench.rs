//! `cargo xtask bench`: builds what is measured and what measures, then lets the latter run.
//!
//! The measuring program speaks the protocol and so takes a while to build; it is a package of its own, to keep this
//! one quick. It runs in a private mount namespace: whatever it mounts is gone with it.

use std::path::PathBuf;

use clap::Args;

use crate::apt::{self, Need};
use crate::workspace::{Workspace, copy_executable, make_dir};
use crate::{Error, process, public_client, venv};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Install the runtimes to compare with (Debian packages) where they are missing.
    #[arg(long)]
    install: bool,
    /// Few repetitions, printed: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Only these parts (once, exec, python, stop, images), printed.
    #[arg(long)]
    only: Vec<String>,
}

const RIVALS: [Need; 7] = [
    Need { file: "/usr/bin/bwrap", package: "bubblewrap" },
    Need { file: "/usr/bin/crun", package: "crun" },
    Need { file: "/usr/sbin/runc", package: "runc" },
    // A registry, and what brings images here.
    Need { file: "/usr/bin/docker-registry", package: "docker-registry" },
    Need { file: "/usr/bin/podman", package: "podman" },
    Need { file: "/usr/bin/skopeo", package: "skopeo" },
    Need { file: "/usr/bin/umoci", package: "umoci" },
];

/// Measures; writes docs/benchmarks.md unless it is a quick look.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    if options.install {
        apt::install(&RIVALS)?;
        venv::install_needs()?;
    }
    if let Some(missing) = RIVALS.iter().find(|need| !need.is_met()) {
        return Err(Error::NoRival { package: missing.package });
    }
    let workspace = Workspace::locate()?;
    let packages = ["--package=ebb", "--package=ebbtide-bench", "--package=ebbtide-python"];
    process::run(workspace.cargo(["build", "--release"]).args(packages))?;
    let python = public_client::newest(&workspace)?;
    let release = workspace.target.join("release");
    let mut measure = process::command("unshare", ["--mount", "--propagation", "private", "--"]);
    measure.arg(release.join("ebbtide-bench")).arg("measure").arg("--ebb").arg(release.join("ebb"));
    measure.arg("--python").arg(python).arg("--packages").arg(python_package(&workspace)?);
    for contest in &options.only {
        measure.args(["--only", contest]);
    }
    if options.quick {
        measure.arg("--quick");
    } else if options.only.is_empty() {
        measure.arg("--report").arg(workspace.root.join("docs/benchmarks.md"));
    }
    process::run(&mut measure)
}

/// Puts the package for Python together from its sources and what was built of it; where it lies.
fn python_package(workspace: &Workspace) -> Result<PathBuf, Error> {
    let release = workspace.target.join("release");
    let packages = release.join("python-packages");
    let package = packages.join("ebbtide");
    make_dir(&package)?;
    let sources = workspace.root.join("python/src/ebbtide");
    let unreadable = || Error::file("could not read", &sources);
    for entry in std::fs::read_dir(&sources).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension() == Some("py".as_ref())) {
            std::fs::copy(&path, package.join(name)).map_err(Error::file("could not copy", &path))?;
        }
    }
    copy_executable(&release.join("lib_native.so"), &package.join("_native.abi3.so"))?;
    Ok(packages)
}
