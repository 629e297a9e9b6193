//! Where things are in this repository and its target directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, process};

/// The repository and where it is built.
pub(crate) struct Workspace {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn locate() -> Result<Self, Error> {
        let text = process::output(&mut process::command(
            "cargo",
            ["metadata", "--format-version=1", "--no-deps", "--quiet"],
        ))?;
        let metadata: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Error::Unexpected { program: "cargo metadata", what: error.to_string() })?;
        let path = |key: &'static str| {
            metadata[key].as_str().map(PathBuf::from).ok_or_else(|| Error::Unexpected {
                program: "cargo metadata",
                what: format!("no {key} in its answer"),
            })
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// A cargo command in the root of the repository.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = process::command("cargo", arguments);
        command.current_dir(&self.root);
        // What cargo says of this program to this program. Some build scripts look at it, and would take it for a change
        // whenever cargo is called by hand and by this in turn, with everything that depends on them.
        let is_about_this = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_this(name)) {
            command.env_remove(name);
        }
        command
    }

    /// A binary of the debug build.
    pub(crate) fn debug_binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }
}

/// Makes a directory and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::file("could not make", path))
}

/// Makes a directory anew.
pub(crate) fn make_empty_dir(path: &Path) -> Result<(), Error> {
    remove_dir(path)?;
    make_dir(path)
}

/// Removes a directory with what is in it, if it is there.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("could not remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Copies an executable so that a process that still runs the old one is not in the way.
pub(crate) fn copy_executable(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        make_dir(parent)?;
    }
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh).map_err(Error::file("could not copy", from))?;
    std::fs::rename(&fresh, to).map_err(Error::file("could not write", to))
}
