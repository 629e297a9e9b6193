//! Installs Debian packages, but only those whose program is missing: with everything in place no network is
//! needed.

use std::path::Path;

use crate::{Error, process};

/// A file that a chore needs, and the Debian package that brings it.
pub(crate) struct Need {
    /// The file, absolute.
    pub(crate) file: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

impl Need {
    /// Whether the file is there.
    pub(crate) fn is_met(&self) -> bool {
        Path::new(self.file).exists()
    }
}

/// Installs the packages of every need that is not met.
pub(crate) fn install(needs: &[Need]) -> Result<(), Error> {
    let missing: Vec<&str> = needs.iter().filter(|need| !need.is_met()).map(|need| need.package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing) }
}

/// Installs packages, whether they are there or not.
pub(crate) fn install_packages(missing: &[&str]) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { packages: missing.join(", ") });
    }
    let install = || {
        let arguments = ["-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends"];
        process::run(apt_get().args(arguments).args(missing))
    };
    // A fresh machine has no package lists, an old one has lists that name packages long replaced.
    install().or_else(|_| {
        process::run(apt_get().arg("update"))?;
        install()
    })
}

fn apt_get() -> std::process::Command {
    let mut command = process::command("apt-get", ["--quiet"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
