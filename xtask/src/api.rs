//! `cargo xtask api`: the public interface of the crate `ebbtide`, beside the listing of it that is committed.
//!
//! Nothing of it is published, so there is no older version that a tool could compare with. What there is instead: each
//! change of the interface is a changed line of a file, which its author accepts and its reviewer sees.
//!
//! The listing is made from what rustdoc knows. It tells that only to who asks for an unstable option, in a format
//! that changes with the toolchain; so the listing names its format, and is only compared with its like.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::workspace::{self, Workspace};
use crate::{Error, process};

/// What to do with the difference.
#[derive(Args)]
pub(crate) struct Options {
    /// Make what is there the listing.
    #[arg(long)]
    accept: bool,
}

const PACKAGE: &str = "ebbtide";
const LISTING: &str = "docs/api/ebbtide.txt";
const HEAD: &str =
    "# What the crate `ebbtide` offers. A line that goes or changes breaks programs; see docs/api/README.md.";
const FORMAT: &str = "# Made by `cargo xtask api --accept`; format of rustdoc's JSON: ";

/// Shows how the interface differs from the listing, or makes it the listing.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let workspace = Workspace::locate()?;
    if options.accept {
        let path = workspace.root.join(LISTING);
        return std::fs::write(&path, listing(&workspace)?).map_err(Error::file("could not write", path));
    }
    check(&workspace)
}

/// Fails if the interface differs from the listing.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Error> {
    let path = workspace.root.join(LISTING);
    let committed = std::fs::read_to_string(&path).map_err(Error::file("could not read", path))?;
    let json = rustdoc(workspace)?;
    let (theirs, ours) = (format_of_listing(&committed), format_of_json(&json)?);
    if theirs != Some(ours) {
        eprintln!(
            "xtask: the interface of `{PACKAGE}` was not checked: {LISTING} is in another format than {ours}, this toolchain's"
        );
        return Ok(());
    }
    let changes = difference(&committed, &listing_of(&json, ours)?);
    if changes.is_empty() {
        return Ok(());
    }
    for change in changes {
        println!("{change}");
    }
    Err(Error::InterfaceChanged { package: PACKAGE, listing: LISTING })
}

fn listing(workspace: &Workspace) -> Result<String, Error> {
    let json = rustdoc(workspace)?;
    listing_of(&json, format_of_json(&json)?)
}

fn listing_of(json: &Path, format: u64) -> Result<String, Error> {
    let interface = public_api::Builder::from_rustdoc_json(json)
        // The same for every type, or for every type of its kind.
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .map_err(|error| unexpected(error.to_string()))?;
    Ok(format!("{HEAD}\n{FORMAT}{format}\n{interface}"))
}

/// Lets rustdoc write what it knows of the library; returns where.
fn rustdoc(workspace: &Workspace) -> Result<PathBuf, Error> {
    workspace::make_dir(&workspace.target)?;
    // For rustdoc alone: build scripts see the variable too, and would build everything anew with what is unstable.
    let wrapper = workspace.target.join("rustdoc-with-unstable-options");
    std::fs::write(&wrapper, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n")
        .and_then(|()| std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)))
        .map_err(Error::file("could not write", &wrapper))?;
    let package = format!("--package={PACKAGE}");
    let mut cargo = workspace.cargo(["rustdoc", "--quiet", &package, "--lib", "--"]);
    cargo.args(["-Z", "unstable-options", "--output-format", "json"]).env("RUSTDOC", wrapper);
    process::run(&mut cargo)?;
    Ok(workspace.target.join("doc").join(PACKAGE).with_extension("json"))
}

fn format_of_json(json: &Path) -> Result<u64, Error> {
    let text = std::fs::read_to_string(json).map_err(Error::file("could not read", json))?;
    let knowledge: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unexpected(error.to_string()))?;
    knowledge["format_version"].as_u64().ok_or_else(|| unexpected("JSON without a format version".to_owned()))
}

fn format_of_listing(listing: &str) -> Option<u64> {
    listing.lines().find_map(|line| line.strip_prefix(FORMAT)?.parse().ok())
}

fn unexpected(what: String) -> Error {
    Error::Unexpected { program: "rustdoc", what }
}

/// The lines that went and those that came.
fn difference(before: &str, now: &str) -> Vec<String> {
    let without = |these: &str, those: &str, sign: char| -> Vec<String> {
        let those: Vec<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}")).collect()
    };
    let mut changes = without(before, now, '-');
    changes.extend(without(now, before, '+'));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_and_what_came_is_told() {
        let (before, now) = ("pub fn a()\npub fn b(u8)\n", "pub fn a()\npub fn b(u16)\npub fn c()\n");
        assert_eq!(difference(before, now), ["- pub fn b(u8)", "+ pub fn b(u16)", "+ pub fn c()"]);
        assert!(difference(now, now).is_empty());
    }

    #[test]
    fn a_listing_names_its_format() {
        assert_eq!(format_of_listing(&format!("{HEAD}\n{FORMAT}57\npub mod x\n")), Some(57));
        assert_eq!(format_of_listing("pub mod x\n"), None);
    }
}
