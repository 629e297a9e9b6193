//! Files that the request brings along, in place before the main command starts.
//!
//! Written by init itself, in a root where no code of the payload has run yet, and covered by a read-only mount of
//! themselves, since a mode alone does not keep the sandbox's root from writing.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;

use ebbtide_driver::{FileError, FileErrorKind};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::names;
use crate::helper::{self, Place, Stop};
use crate::sys;

const MODE: u32 = 0o444;

/// Puts files in their places; `content` holds what all of them hold, one after the other.
pub(super) fn put(files: &[(String, u64)], mut content: File) -> Result<(), FileError> {
    for (path, size) in files {
        put_one(path, &mut (&mut content).take(*size)).map_err(|stop| match stop {
            Stop::Failed(kind) => kind.at(path.clone()),
            Stop::Inside(below, kind) => kind.at(below.to_string_lossy()),
            Stop::Abandoned => FileErrorKind::Interrupted.at(path.clone()),
        })?;
    }
    Ok(())
}

fn put_one(path: &str, content: &mut impl Read) -> Result<(), Stop> {
    names::give_way_to(path);
    let Place { directory, name, .. } = helper::put(path, content, MODE)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(&directory, &name, flags)?;
    sys::make_read_only(mount.as_fd())?;
    move_mount(&mount, "", &directory, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}
