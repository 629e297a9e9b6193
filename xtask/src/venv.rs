//! Environments with Python programs from PyPI. They lie in the target directory and are made once; after that no
//! network is needed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, apt, process};

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

/// An environment that is complete.
pub(crate) struct Environment {
    directory: PathBuf,
}

impl Environment {
    /// Makes it, unless it is there with these packages.
    pub(crate) fn prepare(directory: PathBuf, packages: &[&str]) -> Result<Self, Error> {
        let environment = Self { directory };
        let complete = environment.directory.join("complete");
        let wanted = packages.join(" ");
        if std::fs::read_to_string(&complete).is_ok_and(|found| found == wanted) {
            return Ok(environment);
        }
        process::run(process::command("python3", ["-m", "venv", "--clear"]).arg(&environment.directory))?;
        // What had to be compiled would need more than is installed.
        let arguments =
            ["install", "--quiet", "--disable-pip-version-check", "--retries=5", "--only-binary=:all:"];
        let install = || process::run(environment.command("pip", arguments).args(packages));
        (1..ATTEMPTS).fold(install(), |done, _| done.or_else(|_| install()))?;
        std::fs::write(&complete, wanted).map_err(Error::file("could not write", complete))?;
        Ok(environment)
    }

    /// Where one of its programs is.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    /// A command that is one of its programs, which finds the others.
    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = process::command(&self.program(program).to_string_lossy(), arguments);
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.program("")).chain(std::env::split_paths(&others));
        // Fails only for a directory with a colon in its name, of which `PATH` cannot speak anyway.
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
    }

    /// Installs the package of this repository from a wheel, in place of what is there of it.
    pub(crate) fn install_wheel(&self, wheel: &Path) -> Result<(), Error> {
        let arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"];
        process::run(self.command("pip", arguments).arg("--force-reinstall").arg(wheel))
    }
}
