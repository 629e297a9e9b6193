//! Namespaces of a home: which of them belong to which sandbox, and what else keeps them alive.
//!
//! A namespace has no name. While processes are in it, they say whose it is. One that lives on only through a
//! descriptor or a bind mount is told by its user namespace: the ids mapped into it are a claimed range.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::processes::{Member, Role};
use super::procfs::{Table, link, namespace, proc_path};
use super::{AuditScope, Found, Kind, Owner, claims, user_ids};

/// The kinds of namespaces that a sandbox has of its own, as `/proc/PID/ns` names them.
const KINDS: [&str; 7] = ["net", "mnt", "user", "pid", "ipc", "uts", "cgroup"];

/// The namespaces of the home's processes.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    /// Those of this process and of the daemon: the host's own.
    host: BTreeSet<String>,
    owner_of: BTreeMap<String, Owner>,
    owner_of_root: BTreeMap<u64, Owner>,
}

impl Spaces {
    pub(super) fn of(members: &[Member]) -> Self {
        let mut spaces = Self::default();
        let own = std::process::id();
        let daemon = members.iter().find(|member| member.role == Role::Daemon).map(|member| member.pid);
        for pid in [Some(own), Some(1), daemon].into_iter().flatten() {
            spaces.host.extend(KINDS.iter().filter_map(|kind| namespace(pid, kind)));
        }
        // Launchers first: their namespaces are the home's, also where an init shares one for a moment.
        let launchers = members.iter().filter(|member| member.role == Role::Launcher);
        let others = members.iter().filter(|member| matches!(member.role, Role::Init | Role::Payload));
        for member in launchers.chain(others) {
            for name in KINDS.iter().filter_map(|kind| namespace(member.pid, kind)) {
                if !spaces.host.contains(&name) {
                    spaces.owner_of.entry(name).or_insert_with(|| member.owner.clone());
                }
            }
            if member.role == Role::Init
                && let Ok(root) = proc_path(member.pid, "root/.").metadata()
            {
                spaces.owner_of_root.insert(root.dev(), member.owner.clone());
            }
        }
        spaces
    }

    /// Whom a namespace belongs to; `None` if no process of the home is in it.
    pub(super) fn owner(&self, name: &str) -> Option<&Owner> {
        self.owner_of.get(name)
    }

    /// Whether it is a namespace that the machine itself runs in.
    pub(super) fn is_host(&self, name: &str) -> bool {
        self.host.contains(name)
    }

    /// Whom the root file system with this device number belongs to.
    pub(super) fn owner_of_root(&self, device: u64) -> Option<&Owner> {
        self.owner_of_root.get(&device)
    }
}

/// The network namespaces that processes of the home are in.
pub(super) fn list(spaces: &Spaces) -> Vec<Found> {
    spaces
        .owner_of
        .iter()
        .filter(|(name, _)| name.starts_with("net:"))
        .map(|(name, owner)| Found::new(Kind::NetworkNamespace, name, owner.clone(), "held by processes"))
        .collect()
}

/// Whether `text` is the link of a namespace, e.g. `net:[4026531840]`.
pub(super) fn is_namespace(text: &str) -> bool {
    let kind = text.split_once(":[").map(|(kind, _)| kind);
    kind.is_some_and(|kind| KINDS.contains(&kind)) && text.ends_with(']')
}

/// Tells whether namespaces that no process of the home is in were the home's nevertheless.
#[derive(Debug)]
pub(super) struct Abandoned<'a> {
    scope: &'a AuditScope,
    table: &'a Table,
    in_use: Option<BTreeSet<String>>,
}

impl<'a> Abandoned<'a> {
    pub(super) fn new(scope: &'a AuditScope, table: &'a Table) -> Self {
        Self { scope, table, in_use: None }
    }

    /// Whether the namespace `name`, reached through `path`, is one that only `path` and its like keep alive
    /// and that was made for a sandbox of this home, or of no home that still claims its ids.
    pub(super) fn is_ours(&mut self, name: &str, path: &Path) -> bool {
        if self.in_use().contains(name) {
            return false;
        }
        let Some(claim) = user_ids::claim_of(path) else { return false };
        claims::home_of(self.scope, claim).is_none_or(|home| home == self.scope.home_id)
    }

    fn in_use(&mut self) -> &BTreeSet<String> {
        let table = self.table;
        self.in_use.get_or_insert_with(|| {
            let tasks = table.0.iter().flat_map(|process| KINDS.map(|kind| (process.pid, kind)));
            tasks.filter_map(|(pid, kind)| link(&proc_path(pid, &format!("ns/{kind}")))).collect()
        })
    }
}
