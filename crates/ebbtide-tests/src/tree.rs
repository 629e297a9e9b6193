//! What is in a directory, down to the last attribute, to be compared with another.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};

use crate::image::hex;

/// A file of whatever kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kind and permission bits.
    pub mode: String,
    /// The owner and the group.
    pub owner: (u32, u32),
    /// When it was changed, in seconds.
    pub mtime: i64,
    /// How long it is, and the digest of what it holds; a link's target.
    pub content: Option<String>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Every name that the file has, if there are several.
    pub names: Vec<PathBuf>,
}

/// Everything below a directory.
///
/// # Panics
/// When something cannot be read.
pub fn read(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let place = root.join(&path);
        let metadata = fs::symlink_metadata(&place).expect("look at a file");
        if metadata.is_dir() {
            let entries = fs::read_dir(&place).expect("read a directory");
            open.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        } else {
            inodes.entry(metadata.ino()).or_default().push(path.clone());
        }
        nodes.insert(path, node(&place, &metadata));
    }
    for mut names in inodes.into_values().filter(|names| names.len() > 1) {
        names.sort();
        for name in &names {
            nodes.get_mut(name).expect("a node").names.clone_from(&names);
        }
    }
    nodes.remove(Path::new(""));
    nodes
}

fn node(path: &Path, metadata: &Metadata) -> Node {
    let content = if metadata.is_file() {
        let content = fs::read(path).expect("read a file");
        Some(format!("{} {}", content.len(), hex(&content)))
    } else if metadata.is_symlink() {
        Some(format!("{:?}", fs::read_link(path).expect("read a link")))
    } else {
        None
    };
    Node {
        mode: format!("{:o}", metadata.mode()),
        owner: (metadata.uid(), metadata.gid()),
        mtime: metadata.mtime(),
        content,
        xattrs: xattrs(path),
        names: Vec::new(),
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = llistxattr(path, &mut list[..]).expect("list attributes");
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).expect("read an attribute");
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Panics with what is different.
///
/// # Panics
/// When the two are.
#[track_caller]
pub fn assert_same(ours: &BTreeMap<PathBuf, Node>, theirs: &BTreeMap<PathBuf, Node>) {
    let mut different = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (our, their) = (ours.get(path), theirs.get(path));
        if our != their {
            different.push(format!("{path:?}:\n    ours   {our:?}\n    theirs {their:?}"));
        }
    }
    assert!(different.is_empty(), "{} files differ:\n  {}", different.len(), different.join("\n  "));
}
