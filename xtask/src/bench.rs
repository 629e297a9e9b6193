//! `cargo xtask bench`: builds what is measured and what measures, then lets the latter run.
//!
//! The measuring program speaks the protocol and so takes a while to build; it is a package of its own, to keep this
//! one quick. It runs in a private mount namespace: whatever it mounts is gone with it.

use clap::Args;

use crate::apt::{self, Need};
use crate::workspace::Workspace;
use crate::{Error, process, public_client};

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
        public_client::install_needs()?;
    }
    if let Some(missing) = RIVALS.iter().find(|need| !need.is_met()) {
        return Err(Error::NoRival { package: missing.package });
    }
    let workspace = Workspace::locate()?;
    process::run(&mut workspace.cargo(["build", "--release", "--package=ebb", "--package=ebbtide-bench"]))?;
    let python = public_client::newest(&workspace)?;
    let release = workspace.target.join("release");
    let mut measure = process::command("unshare", ["--mount", "--propagation", "private", "--"]);
    measure.arg(release.join("ebbtide-bench")).arg("measure").arg("--ebb").arg(release.join("ebb"));
    measure.arg("--python").arg(python);
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
