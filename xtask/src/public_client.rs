//! The public client from PyPI against this daemon: each version that is supported, in an environment of its own.
//!
//! The environments lie in the target directory and are made once; after that no network is needed.

use std::path::{Path, PathBuf};

use crate::workspace::Workspace;
use crate::{Error, apt, process};

/// The oldest, one on the way, the newest.
const VERSIONS: [&str; 3] = ["1.0.0", "1.6.0", "1.22.0"];
/// What the tests need beside the client.
const TOOLS: [&str; 3] = ["pytest==9.2.0", "pytest-timeout==2.4.0", "ruff==0.17.6"];

/// All that is written in Python, as seen from the tests, whose settings hold.
const LINTED: [&str; 4] = ["--config", "pyproject.toml", ".", "../../crates/ebbtide-bench/src"];

/// How often the packages are asked for before that counts as a failure.
const ATTEMPTS: u32 = 3;

/// Installs what environments are made with.
pub(crate) fn install_needs() -> Result<(), Error> {
    // Debian keeps a part of Python's own library in a package of its own, without a file of a fixed name.
    if process::succeeds(&mut process::command("python3", ["-c", "import ensurepip, venv"])) {
        return Ok(());
    }
    apt::install_packages(&["python3-venv"])
}

/// Lints the tests and runs them with every version.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    let tests = workspace.root.join("tests/client");
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let environment = environment(workspace, version);
        prepare(&environment, version)?;
        let program = |name: &str| environment.join("bin").join(name).to_string_lossy().into_owned();
        if index == 0 {
            for check in [&["check"][..], &["format", "--check"]] {
                let arguments = check.iter().chain(&LINTED);
                process::run(process::command(&program("ruff"), arguments).current_dir(&tests))?;
            }
        }
        eprintln!("the public client, version {version}:");
        let mut pytest = process::command(&program("pytest"), ["--quiet"]);
        pytest.current_dir(&tests).env("EBB_BIN", workspace.debug_binary("ebb"));
        pytest.env("PYTHONDONTWRITEBYTECODE", "1");
        process::run(&mut pytest)?;
    }
    Ok(())
}

/// The Python of the environment with the newest version.
pub(crate) fn newest(workspace: &Workspace) -> Result<PathBuf, Error> {
    let version = VERSIONS[VERSIONS.len() - 1];
    let environment = environment(workspace, version);
    prepare(&environment, version)?;
    Ok(environment.join("bin/python"))
}

fn environment(workspace: &Workspace, version: &str) -> PathBuf {
    workspace.target.join("public-client").join(version)
}

/// Makes an environment, unless it is complete.
fn prepare(environment: &Path, version: &str) -> Result<(), Error> {
    let client = format!("cwsandbox=={version}");
    let wanted: Vec<&str> = std::iter::once(client.as_str()).chain(TOOLS).collect();
    let complete = environment.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|found| found == wanted.join(" ")) {
        return Ok(());
    }
    process::run(process::command("python3", ["-m", "venv", "--clear"]).arg(environment))?;
    let pip = environment.join("bin/pip").to_string_lossy().into_owned();
    // What had to be compiled would need more than is installed.
    let arguments =
        ["install", "--quiet", "--disable-pip-version-check", "--retries=5", "--only-binary=:all:"];
    let install = || process::run(process::command(&pip, arguments).args(&wanted));
    (1..ATTEMPTS).fold(install(), |done, _| done.or_else(|_| install()))?;
    std::fs::write(&complete, wanted.join(" ")).map_err(Error::file("could not write", complete))
}
