//! What one sandbox consists of, as its payload shows it, and what of that is still there.
//!
//! The payload carries a mark in its environment. From there the kernel leads on: to the namespaces that the payload is
//! in, to every other process in its pid namespace, to whoever holds one of the namespaces open.

use std::collections::BTreeSet;
use std::fs;

use super::table::{Table, link};
use super::{Found, Kind, mounts};

/// The traces of one sandbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    mark: String,
    namespaces: BTreeSet<String>,
}

impl Trace {
    /// The sandbox whose payload will carry `mark`.
    pub(crate) fn of(mark: &str) -> Self {
        Self { mark: mark.to_owned(), namespaces: BTreeSet::new() }
    }

    /// The sandbox whose payload carries `mark`; `None` while it does not run.
    pub(crate) fn find(mark: &str, table: &Table) -> Option<Self> {
        let mut trace = Self::of(mark);
        trace.extend(table).then_some(trace)
    }

    /// Adds what the payload has come into since. Whether it runs.
    pub(crate) fn extend(&mut self, table: &Table) -> bool {
        let own = table.processes.get(&std::process::id());
        let shared = |name: &&String| own.is_some_and(|own| own.namespaces.contains(name));
        let mut runs = false;
        for process in table.processes.values().filter(|process| process.mark.as_ref() == Some(&self.mark)) {
            runs = true;
            self.namespaces.extend(process.namespaces.iter().filter(|name| !shared(name)).cloned());
        }
        runs
    }

    /// Whether the payload runs.
    pub(crate) fn is_alive(&self, table: &Table) -> bool {
        table.processes.values().any(|process| process.mark.as_ref() == Some(&self.mark))
    }

    /// The processes of its payload, by their mark.
    pub(crate) fn payload(&self, table: &Table) -> Vec<u32> {
        let marked = table.processes.iter().filter(|(_, process)| process.mark.as_ref() == Some(&self.mark));
        marked.map(|(pid, _)| *pid).collect()
    }

    /// Its processes, and those in a namespace that has been given the number of one of its own.
    fn processes(&self, table: &Table) -> BTreeSet<u32> {
        let ours = |name: &String| name.starts_with("pid:") && self.namespaces.contains(name);
        let entries = table.processes.iter();
        let found = entries.filter(|(_, process)| {
            process.mark.as_ref() == Some(&self.mark) || process.namespaces.iter().any(ours)
        });
        found.map(|(pid, _)| *pid).collect()
    }

    /// What is still there. Processes that have started after `since` may be in a namespace that was given the
    /// number of one that is gone; they hold none of this sandbox's.
    pub(crate) fn remains(&self, table: &Table, since: u64) -> Vec<Found> {
        let processes: Vec<Found> = self
            .processes(table)
            .into_iter()
            .filter(|pid| {
                let process = table.processes.get(pid);
                process.is_some_and(|process| process.mark.is_some() || process.start <= since)
            })
            .map(|pid| Found { kind: Kind::Process, name: table.name(pid) })
            .collect();
        // While processes are left, there is no need to look further.
        if !processes.is_empty() {
            return processes;
        }
        let mut held = mounts::pinned_namespaces(table);
        for (pid, process) in &table.processes {
            if process.start > since {
                continue;
            }
            held.extend(process.namespaces.iter().cloned());
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            held.extend(open.filter_map(|fd| link(&fd.path().to_string_lossy())));
        }
        self.namespaces
            .intersection(&held)
            .map(|name| Found { kind: Kind::Namespace, name: name.clone() })
            .collect()
    }
}

/// Now, on the clock of [`super::table::Process::start`].
pub(crate) fn ticks() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    // Hundredths of seconds, as both are on every machine that Linux runs on today.
    let hundredths = uptime.split(' ').next().map(|text| text.replace('.', ""));
    hundredths.and_then(|text| text.parse().ok()).unwrap_or_default()
}
