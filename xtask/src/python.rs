//! The Python package: its checks, and its tests on the package as it is installed. It is packed from the debug build,
//! which the other tests run too, so that nothing is compiled for it alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::venv::Environment;
use crate::workspace::Workspace;
use crate::{Error, image, process, workspace};

/// What packs the package when cargo has built it.
pub(crate) const PACKERS: [&str; 2] = ["maturin==1.16.0", "wheel==0.48.0"];
/// What checks it, and what its tests need.
const TOOLS: [&str; 9] = [
    // The last ones that know Python 3.9.
    "mypy==1.20.2",
    "pytest==8.4.2",
    "pytest-timeout==2.4.0",
    "pytest-xdist==3.8.0",
    "ruff==0.17.6",
    "typing_extensions==4.16.0",
    // Loops and hosts that the package is tried in.
    "uvloop==0.23.0",
    "ipykernel==7.4.0",
    "jupyter_client==8.10.0",
];
/// Python as old, and as new, as the types are checked for.
const TYPED_FOR: [&str; 2] = ["3.9", "3.13"];
/// No test is begun later than this; each has a limit of its own.
const SESSION_SECONDS: u32 = 1500;

/// Lints the package and checks its types.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Error> {
    let environment = prepare(workspace)?;
    let sources = workspace.root.join("python");
    for check in [&["check"][..], &["format", "--check"]] {
        process::run(environment.command("ruff", check).arg(".").current_dir(&sources))?;
    }
    let cache = workspace.target.join("python/mypy");
    for version in TYPED_FOR {
        let mut mypy = environment.command("mypy", ["--strict", "--python-version", version, "--cache-dir"]);
        process::run(mypy.arg(&cache).current_dir(&sources))?;
    }
    Ok(())
}

/// Tests the package that the debug build makes.
pub(crate) fn test(workspace: &Workspace) -> Result<(), Error> {
    let environment = prepare(workspace)?;
    let built = workspace.target.join("debug");
    let wheel = pack(workspace, &environment, &built, &workspace.target.join("python/wheel"))?;
    environment.install_wheel(&wheel)?;
    let allowed = workspace.root.join("python/stubs_allowed.txt");
    let mut stubs = environment.command("stubtest", ["ebbtide._native", "--allowlist"]);
    process::run(stubs.arg(allowed).current_dir(workspace.target.join("python")))?;
    process::run(&mut tests(workspace, &environment, &built.join("ebb"), &wheel)?)
}

/// The environment that the tests run in, yet without the package.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Environment, Error> {
    let packages: Vec<&str> = PACKERS.into_iter().chain(TOOLS).collect();
    Environment::prepare(workspace.target.join("python/environment"), &packages)
}

/// The tests, of the wheel that is installed.
pub(crate) fn tests(
    workspace: &Workspace,
    environment: &Environment,
    ebb: &Path,
    wheel: &Path,
) -> Result<Command, Error> {
    let mut pytest = environment.command("pytest", ["--quiet"]);
    pytest.arg(format!("--session-timeout={SESSION_SECONDS}")).current_dir(workspace.root.join("python"));
    pytest.env("EBB_BIN", ebb).env("EBB_PYTHON_IMAGE", image::python(workspace)?);
    pytest.env("EBBTIDE_TEST_WHEEL", wheel).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(pytest)
}

/// Makes a wheel of what cargo has put into the directory `built`; it becomes the only one in the directory `out`.
pub(crate) fn pack(
    workspace: &Workspace,
    tools: &Environment,
    built: &Path,
    out: &Path,
) -> Result<PathBuf, Error> {
    workspace::make_empty_dir(out)?;
    let arguments = ["wheel", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"];
    let mut pip = tools.command("pip", arguments);
    pip.args(["--no-build-isolation", "--no-cache-dir", "--wheel-dir"]).arg(out);
    process::run(pip.arg(workspace.root.join("python")).env("EBBTIDE_BUILD_FROM", built))?;
    only_file(out)
}

/// The file of a directory that holds one.
pub(crate) fn only_file(directory: &Path) -> Result<PathBuf, Error> {
    let mut entries = std::fs::read_dir(directory).map_err(Error::file("could not read", directory))?;
    let unexpected =
        || Error::Unexpected { program: "pip", what: format!("no file in {}", directory.display()) };
    let entry = entries.next().ok_or_else(unexpected)?.map_err(Error::file("could not read", directory))?;
    Ok(entry.path())
}
