//! Every process that comes from this test, however it detached itself.
//!
//! The test process makes itself a subreaper: a daemon, launcher or init whose parent dies becomes its child
//! and not one of the system's process 1. So descent is complete, and tells our processes from those of whoever
//! else uses the machine. As process 1 would, it reaps what it did not start itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions};

static STARTED_HERE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Makes this process the reaper of its descendants.
pub(crate) fn adopt_all() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("become a subreaper");
        std::thread::spawn(|| {
            loop {
                reap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    });
}

/// Starts a child that somebody here waits for, so that nobody else reaps it.
#[expect(clippy::disallowed_methods, reason = "the one way leads here")]
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Held until the child is noted: it may end at once.
    let mut ours = STARTED_HERE.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    ours.insert(child.id());
    Ok(child)
}

/// The child has been waited for.
pub(crate) fn waited(pid: u32) {
    STARTED_HERE.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
}

fn reap() {
    let ours = STARTED_HERE.lock().unwrap_or_else(PoisonError::into_inner);
    for (pid, process) in table() {
        // Only what is Ebbtide's: a test may wait for its other children by itself. An init that ends before it has
        // given itself a name is still called as its launcher was started, `/proc/self/exe`.
        if process.zombie
            && process.parent == std::process::id()
            && (process.comm.starts_with("ebb") || process.comm == "exe")
            && !ours.contains(&pid)
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Every living descendant: its id and its name.
pub(crate) fn living() -> BTreeMap<u32, String> {
    let table = table();
    let own = std::process::id();
    let descends = |pid: u32| {
        let mut at = pid;
        // Bounded: a table read while processes die could hold a circle.
        for _ in 0..64 {
            match table.get(&at) {
                Some(process) if process.parent == own => return true,
                Some(process) => at = process.parent,
                None => return false,
            }
        }
        false
    };
    table
        .iter()
        .filter(|(pid, process)| !process.zombie && descends(**pid))
        .map(|(pid, process)| (*pid, process.comm.clone()))
        .collect()
}

struct Process {
    parent: u32,
    zombie: bool,
    comm: String,
}

fn table() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").expect("list the processes");
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (head, tail) = stat.rsplit_once(") ")?;
            let (_, comm) = head.split_once('(')?;
            let mut fields = tail.split(' ');
            let zombie = matches!(fields.next()?, "Z" | "X");
            Some((pid, Process { parent: fields.next()?.parse().ok()?, zombie, comm: comm.to_owned() }))
        })
        .collect()
}
