//! Processes of a home: whatever is in one of its cgroups, and whatever names its run directory.

use std::path::Path;

use super::procfs::{Process, Table, text};
use super::slots::{Slots, slot_in};
use super::{AuditScope, Found, Kind, LiveView, Owner};

/// What a process is to the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Daemon,
    Launcher,
    Init,
    Payload,
}

/// A process of the home.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) pid: u32,
    pub(super) role: Role,
    pub(super) owner: Owner,
    comm: String,
    zombie: bool,
}

impl Member {
    pub(super) fn found(&self) -> Found {
        let role = match self.role {
            Role::Daemon => "daemon",
            Role::Launcher => "launcher",
            Role::Init => "init",
            Role::Payload => "payload",
        };
        let state = if self.zombie { ", ended and not reaped" } else { "" };
        let name = format!("{} {}", self.pid, self.comm);
        Found::new(Kind::Process, name, self.owner.clone(), format!("{role}{state}")).held_by(self.pid)
    }
}

/// Every process of the home, and which of them hold it up.
pub(super) fn list(scope: &AuditScope, table: &Table, slots: &Slots) -> (LiveView, Vec<Member>) {
    let run_dir = scope.run_dir.to_string_lossy();
    let names_home = |process: &Process| process.cmdline.contains(run_dir.as_ref());
    let boot_id = text(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    let boot_id = boot_id.trim().to_owned();
    let mut live = LiveView { daemon: daemon(scope, table), boot_id, ..LiveView::default() };
    live.launchers = table
        .0
        .iter()
        .filter(|process| process.comm == "ebb-launcher" && !process.zombie && names_home(process))
        .map(|process| process.pid)
        .collect();

    let mut members = Vec::new();
    for process in &table.0 {
        let inside = process.cgroups.iter().find_map(|path| below_home(path, &scope.home_id));
        let slot = inside.and_then(slot_in);
        let (role, owner) = if Some(process.pid) == live.daemon {
            (Role::Daemon, Owner::Home)
        } else if live.launchers.contains(&process.pid) {
            (Role::Launcher, Owner::Home)
        } else if process.comm == "ebb-init" && (inside.is_some() || names_home(process)) {
            (Role::Init, slot.as_ref().map_or(Owner::Nobody, |slot| slots.owner(slot)))
        } else if inside.is_some() || process.comm == "ebb-launcher" && names_home(process) {
            (Role::Payload, slot.as_ref().map_or(Owner::Nobody, |slot| slots.owner(slot)))
        } else {
            continue;
        };
        // A slot is kept ready only by the launcher that made it and is still its parent.
        if role == Role::Init
            && live.launchers.contains(&process.parent)
            && let Owner::Slot { slot } = &owner
            && slots.directories.contains_key(slot)
        {
            live.pool.insert(slot.clone());
        }
        let (pid, comm, zombie) = (process.pid, process.comm.clone(), process.zombie);
        members.push(Member { pid, role, owner, comm, zombie });
    }
    (live, members)
}

/// The part of a cgroup's path below the home's own, if it is there.
fn below_home<'a>(path: &'a str, home_id: &str) -> Option<&'a str> {
    let (_, rest) = path.split_once(&format!("/ebbtide/{home_id}"))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The daemon writes its id into the lock file that it holds for life.
fn daemon(scope: &AuditScope, table: &Table) -> Option<u32> {
    let lock = scope.state_dir.join("daemon.lock");
    let pid = text(&lock)?.trim().parse().ok()?;
    let alive = table.0.iter().any(|process| process.pid == pid && !process.zombie);
    (alive && super::claims::is_locked(&lock)).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, comm: &str, cmdline: &str, cgroup: &str) -> Process {
        Process {
            pid,
            parent,
            zombie: false,
            comm: comm.into(),
            cmdline: cmdline.into(),
            cgroups: vec!["/".into(), cgroup.into()],
        }
    }

    #[test]
    fn only_the_processes_of_this_home_are_members() {
        let scope = AuditScope {
            home_id: "aaaaaaaa".into(),
            state_dir: "/nowhere".into(),
            run_dir: "/run/ebbtide/aaaaaaaa".into(),
        };
        let launcher = "ebb internal-launcher /run/ebbtide/aaaaaaaa";
        let other = "ebb internal-launcher /run/ebbtide/bbbbbbbb";
        let table = Table(vec![
            process(10, 1, "ebb-launcher", launcher, "/"),
            process(11, 1, "ebb-launcher", other, "/"),
            process(12, 10, "ebb-init", launcher, "/ebbtide/aaaaaaaa/slot-cccccccc/init"),
            process(13, 12, "sh", "sh", "/ebbtide/aaaaaaaa/slot-cccccccc/payload"),
            process(14, 1, "sh", "sh", "/ebbtide/aaaaaaaab/slot-cccccccc"),
            process(15, 1, "sh", "sh", "/x/ebbtide/aaaaaaaa"),
            process(16, 1, "vi", "vi /run/ebbtide/aaaaaaaa/exit", "/"),
        ]);
        let mut slots = Slots::default();
        slots.directories.insert("slot-cccccccc".into(), "slot-cccccccc".into());
        let (live, members) = list(&scope, &table, &slots);
        assert_eq!(live.launchers, [10]);
        assert!(live.pool.contains("slot-cccccccc"));
        let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
        assert_eq!(pids, [10, 12, 13, 15]);
        assert_eq!(members[3].owner, Owner::Nobody);
    }
}
