//! The process table and the few files of `/proc` that a walk reads, as plain values.
//!
//! A process may end between two reads. Whatever of it cannot be read then is left out, never an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::AuditError;

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) zombie: bool,
    pub(super) comm: String,
    /// Its arguments, separated by blanks.
    pub(super) cmdline: String,
    /// Its cgroup in each hierarchy.
    pub(super) cgroups: Vec<String>,
}

/// Every process at one moment.
#[derive(Debug)]
pub(super) struct Table(pub(super) Vec<Process>);

impl Table {
    pub(super) fn read() -> Result<Self, AuditError> {
        let numbers = entries(Path::new("/proc"))?;
        Ok(Self(numbers.iter().filter_map(|name| Process::read(name.parse().ok()?)).collect()))
    }
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = text(&proc_path(pid, "stat"))?;
        // The name may hold blanks and brackets: the fields begin after the last closing one.
        let open = stat.find('(')?;
        let close = stat.rfind(')')?;
        let mut fields = stat.get(close + 2..)?.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let cgroups = text(&proc_path(pid, "cgroup"))?
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .map(|path| path.trim_end_matches(" (deleted)").to_owned())
            .collect();
        Some(Self {
            pid,
            parent,
            zombie: matches!(state, "Z" | "X"),
            comm: stat.get(open + 1..close)?.to_owned(),
            cmdline: text(&proc_path(pid, "cmdline"))?.replace('\0', " ").trim_end().to_owned(),
            cgroups,
        })
    }
}

/// One line of a mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    /// Its device as `MAJOR:MINOR`.
    pub(super) device: String,
    pub(super) root: String,
    pub(super) point: String,
    pub(super) file_system: String,
    pub(super) source: String,
    pub(super) options: String,
}

/// The mount table that a process sees; `None` once it is gone.
pub(super) fn mounts(pid: u32) -> Option<Vec<Mount>> {
    Some(parse_mounts(&text(&proc_path(pid, "mountinfo"))?))
}

/// The mount table of this process.
pub(super) fn own_mounts() -> Vec<Mount> {
    parse_mounts(&text(Path::new("/proc/self/mountinfo")).unwrap_or_default())
}

fn parse_mounts(table: &str) -> Vec<Mount> {
    table
        .lines()
        .filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let mut head = head.split(' ');
            let mut tail = tail.split(' ');
            Some(Mount {
                id: head.next()?.parse().ok()?,
                device: head.nth(1)?.to_owned(),
                root: unescape(head.next()?),
                point: unescape(head.next()?),
                file_system: tail.next()?.to_owned(),
                source: unescape(tail.next()?),
                options: unescape(tail.next()?),
            })
        })
        .collect()
}

/// Undoes the kernel's octal escapes of blanks, tabs, newlines and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The namespace link of a process, e.g. `net:[4026531840]`.
pub(super) fn namespace(pid: u32, kind: &str) -> Option<String> {
    link(&proc_path(pid, &format!("ns/{kind}")))
}

/// What a symbolic link says.
pub(super) fn link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}

/// `/proc/PID/name`.
pub(super) fn proc_path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// A small file as text; `None` if it is gone or may not be read.
pub(super) fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The names in a directory; none where there is no directory.
pub(super) fn entries(path: &Path) -> Result<Vec<String>, AuditError> {
    let unreadable = |source| AuditError::Unreadable { path: path.to_owned(), source };
    match fs::read_dir(path) {
        Ok(entries) => Ok(entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(unreadable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_this_process() {
        let table = Table::read().unwrap();
        let own = table.0.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(!own.zombie && !own.comm.is_empty() && !own.cmdline.is_empty() && !own.cgroups.is_empty());
    }

    #[test]
    fn a_mount_line_is_read_with_its_escapes() {
        let line = "36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n";
        let mounts = parse_mounts(&format!("garbage\n{line}"));
        assert_eq!(
            mounts,
            [Mount {
                id: 36,
                device: "98:0".into(),
                root: "/a b".into(),
                point: "/mnt\\x".into(),
                file_system: "ext3".into(),
                source: "/dev/root".into(),
                options: "rw,errors=continue".into(),
            }]
        );
    }

    #[test]
    fn what_is_not_there_has_no_entries() {
        assert!(entries(Path::new("/proc/self/nothing")).unwrap().is_empty());
    }
}
