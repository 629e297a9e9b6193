//! `cargo xtask image python`: a small image with Python, from Debian's packages alone.
//!
//! What Debian gives lies in the target directory and is made once; after that no network is needed.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::apt::{self, Need};
use crate::workspace::{self, Workspace};
use crate::{Error, process};

/// Raised with every change of the recipe below, so that an old file is not used for a new one.
const RECIPE: &str = "python-1";

const NEEDS: [Need; 2] = [
    Need { file: "/usr/bin/mmdebstrap", package: "mmdebstrap" },
    Need { file: "/usr/bin/zstd", package: "zstd" },
];

/// A shell and coreutils come unasked, with what Debian holds essential. The first is there so that no package is drawn
/// in that would merge `/usr` later, with all of perl.
const PACKAGES: &str = "usr-is-merged,python3,python-is-python3,ca-certificates";

/// What the image is called: what Debian's bookworm has.
const NAME: &str = "python:3.11";

/// The images to be made.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    image: Image,
}

#[derive(Subcommand)]
enum Image {
    /// Python 3.11 of Debian 12, with a shell, coreutils and certificates; becomes `python:3.11`.
    Python {
        /// The home that it is loaded into; that of `ebb` itself if left out.
        #[arg(long, value_name = "DIR")]
        home: Option<PathBuf>,
    },
}

/// Makes an image and loads it with the `ebb` of this repository.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let Image::Python { home } = &options.image;
    let workspace = Workspace::locate()?;
    let archive = python(&workspace)?;
    process::run(&mut workspace.cargo(["build", "--package=ebb", "--bin=ebb"]))?;
    let ebb = workspace.debug_binary("ebb").to_string_lossy().into_owned();
    let mut load = process::command(&ebb, ["image", "load", "--cmd", "python3", "--env", "LANG=C.UTF-8"]);
    load.args(["--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    load.arg("--from-tar").arg(archive).arg(NAME);
    if let Some(home) = home {
        load.env("EBBTIDE_HOME", home);
    }
    process::run(&mut load)
}

/// The root file system of the image, made if it is not there.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf, Error> {
    let directory = workspace.target.join("images");
    let archive = directory.join(format!("{RECIPE}.tar.zst"));
    if archive.exists() {
        return Ok(archive);
    }
    apt::install(&NEEDS)?;
    workspace::make_dir(&directory)?;
    let fresh = directory.join(format!("{RECIPE}.unfinished.tar.zst"));
    let unused = ["doc", "info", "lintian", "locale", "man"];
    let unused = unused.map(|directory| format!("--dpkgopt=path-exclude=/usr/share/{directory}/*"));
    let mut mmdebstrap = process::command("mmdebstrap", ["--variant=essential", "--format=tar"]);
    mmdebstrap
        .arg(format!("--include={PACKAGES}"))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(unused);
    mmdebstrap.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
    // A sandbox has devices of its own.
    mmdebstrap.args(["--skip=output/dev", "--customize-hook=rm -rf \"$1\"/var/lib/apt \"$1\"/var/cache/*"]);
    mmdebstrap.arg("bookworm").arg(&fresh).args([
        "deb http://deb.debian.org/debian bookworm main",
        "deb http://deb.debian.org/debian-security bookworm-security main",
    ]);
    process::run(&mut mmdebstrap)?;
    fs::rename(&fresh, &archive).map_err(Error::file("could not rename", &fresh))?;
    Ok(archive)
}
