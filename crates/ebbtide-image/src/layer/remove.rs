//! Removing a directory with all that is in it, however deep.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

/// How deep to go with a descriptor for each step. What is deeper is moved up first: a layer can make a tree that is
/// deeper than there are descriptors, and than a stack is large.
const DEPTH: usize = 32;

/// Removes what is at `name` in `parent`, if there is anything. Follows no link.
pub(crate) fn remove(parent: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return result,
    }
    let Some(top) = open(parent.as_fd(), name)? else { return Ok(()) };
    let mut moved = 0;
    loop {
        empty(&top, top.as_fd(), DEPTH, &mut moved)?;
        match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            // What was deep is now at the top.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        }
    }
}

/// Removes what is at a path.
pub(crate) fn remove_path(path: &std::path::Path) -> rustix::io::Result<()> {
    remove(CWD, path.as_os_str())
}

fn empty(directory: &OwnedFd, top: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> rustix::io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if is_directory(directory, name, entry.file_type())? {
            if depth == 0 {
                move_up(directory, name, top, moved)?;
                continue;
            }
            if let Some(inner) = open(directory.as_fd(), name)? {
                empty(&inner, top, depth - 1, moved)?;
            }
            tolerate(unlinkat(directory, name, AtFlags::REMOVEDIR))?;
        } else {
            tolerate(unlinkat(directory, name, AtFlags::empty()))?;
        }
    }
    Ok(())
}

fn is_directory(parent: &OwnedFd, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn move_up(from: &OwnedFd, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        let new = format!("deep-{moved}");
        match renameat_with(from, name, top, new, RenameFlags::NOREPLACE) {
            // The layer has such a name itself.
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Somebody else may be removing the same, and what was moved up is looked at again.
fn tolerate(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{mkdirat, open as open_path};

    use super::*;

    #[test]
    fn a_tree_goes_however_deep_it_is_and_what_its_links_point_to_stays() {
        let around = tempfile::tempdir().unwrap();
        fs::write(around.path().join("kept"), "kept").unwrap();
        let top = around.path().join("top");
        fs::create_dir_all(top.join("deep-1")).unwrap();
        std::os::unix::fs::symlink(around.path(), top.join("out")).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = open_path(&top, flags, Mode::empty()).unwrap();
        for level in 0..3000 {
            for name in ["down", "beside"] {
                mkdirat(&at, name, Mode::RWXU).unwrap();
            }
            rustix::fs::symlinkat(around.path(), &at, format!("link {level}")).unwrap();
            at = openat(&at, "down", flags, Mode::empty()).unwrap();
        }
        drop(at);
        remove_path(&top).unwrap();
        remove_path(&top).unwrap();
        let left: Vec<_> = fs::read_dir(around.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
    }
}
