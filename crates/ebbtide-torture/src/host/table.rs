//! The processes of the host at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The variable by which a sandbox's payload is known, whatever it forks.
pub(crate) const MARK: &str = "TORTURE_MARK";
const NAMESPACES: [&str; 7] = ["pid", "mnt", "net", "ipc", "uts", "cgroup", "user"];

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// When it was started, in ticks since boot: with its id, this tells it from every other.
    pub(crate) start: u64,
    /// Its parent.
    pub(crate) parent: u32,
    /// Its name.
    pub(crate) comm: String,
    /// The mark in its environment.
    pub(crate) mark: Option<String>,
    /// The namespaces it is in, as the kernel writes them: `net:[4026531840]`.
    pub(crate) namespaces: Vec<String>,
}

/// All processes but zombies, which hold nothing but their number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// By process id.
    pub(crate) processes: BTreeMap<u32, Process>,
}

impl Table {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        Self { processes: pids.filter_map(|pid| Some((pid, read(pid)?))).collect() }
    }

    /// Whatever descends from `root`, without it.
    pub(crate) fn descendants(&self, root: u32) -> BTreeSet<u32> {
        let descends = |pid: u32| {
            let mut at = pid;
            // Bounded: a table that is read while processes die may hold a circle.
            for _ in 0..128 {
                match self.processes.get(&at) {
                    Some(process) if process.parent == root => return true,
                    Some(process) => at = process.parent,
                    None => return false,
                }
            }
            false
        };
        self.processes.keys().copied().filter(|pid| descends(*pid)).collect()
    }

    /// How to call a process in a report.
    pub(crate) fn name(&self, pid: u32) -> String {
        let comm = self.processes.get(&pid).map_or("?", |process| &process.comm);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace(['\0', '\n'], " ");
        format!("{pid} {comm}: {:.120}", line.trim())
    }
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold some.
    let (head, tail) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = tail.split(' ').collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = environment.split(|byte| *byte == 0).find_map(|variable| {
        let text = std::str::from_utf8(variable).ok()?;
        Some(text.strip_prefix(MARK)?.strip_prefix('=')?.to_owned())
    });
    let namespaces = NAMESPACES.iter().filter_map(|kind| link(&format!("/proc/{pid}/ns/{kind}"))).collect();
    Some(Process {
        start: fields.get(19)?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        comm: head.split_once('(')?.1.to_owned(),
        mark,
        namespaces,
    })
}

/// Where a link of `/proc` leads.
pub(crate) fn link(path: &str) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}
