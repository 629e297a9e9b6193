//! The public client from PyPI against this daemon: each version that is supported, in an environment of its own.

use std::path::PathBuf;

use crate::venv::Environment;
use crate::workspace::Workspace;
use crate::{Error, process};

/// The oldest, one on the way, the newest.
const VERSIONS: [&str; 3] = ["1.0.0", "1.6.0", "1.22.0"];
/// What the tests need beside the client.
const TOOLS: [&str; 3] = ["pytest==9.2.0", "pytest-timeout==2.4.0", "ruff==0.17.6"];

/// All that is written in Python, as seen from the tests, whose settings hold.
const LINTED: [&str; 4] = ["--config", "pyproject.toml", ".", "../../crates/ebbtide-bench/src"];

/// Lints the tests and runs them with every version.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    let tests = workspace.root.join("tests/client");
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let environment = environment(workspace, version)?;
        if index == 0 {
            for check in [&["check"][..], &["format", "--check"]] {
                let arguments = check.iter().chain(&LINTED);
                process::run(environment.command("ruff", arguments).current_dir(&tests))?;
            }
        }
        eprintln!("the public client, version {version}:");
        let mut pytest = environment.command("pytest", ["--quiet"]);
        pytest.current_dir(&tests).env("EBB_BIN", workspace.debug_binary("ebb"));
        pytest.env("PYTHONDONTWRITEBYTECODE", "1");
        process::run(&mut pytest)?;
    }
    Ok(())
}

/// The Python of the environment with the newest version.
pub(crate) fn newest(workspace: &Workspace) -> Result<PathBuf, Error> {
    Ok(environment(workspace, VERSIONS[VERSIONS.len() - 1])?.program("python"))
}

fn environment(workspace: &Workspace, version: &str) -> Result<Environment, Error> {
    let client = format!("cwsandbox=={version}");
    let packages: Vec<&str> = std::iter::once(client.as_str()).chain(TOOLS).collect();
    Environment::prepare(workspace.target.join("public-client").join(version), &packages)
}
