//! Hosts with cgroup v1 and v2 side by side: v2 for identity and kill, v1 for the limits.

use std::path::PathBuf;

use ebbtide_model::EffectiveResources;

use super::{Backend, SlotCgroups, Tree};
use crate::sys_error::SysError;

pub(super) struct Hybrid {
    v2: Tree,
    memory: Tree,
    pids: Tree,
    cpu: Tree,
}

/// In the order of their removal.
const V2_LEAVES: [&str; 3] = ["payload", "init", ""];
const CPU_PERIOD_US: u64 = 100_000;
/// What an ended slot may leave charged to a memory cgroup that the next one takes over: the kernel keeps some pages
/// ahead for each processor.
const MOST_LEFT_CHARGED: u64 = 1 << 20;

impl Hybrid {
    pub(super) fn new(v2: Tree, memory: Tree, pids: Tree, cpu: Tree) -> Self {
        Self { v2, memory, pids, cpu }
    }

    fn remove_v2(&self, slot: &str) -> Result<u32, SysError> {
        let mut removed = 0;
        for leaf in V2_LEAVES {
            removed += u32::from(self.v2.remove(slot, leaf)?);
        }
        Ok(removed)
    }

    /// Whether a memory cgroup is as good as new, once its bounds are lifted: little is charged to it, and it never
    /// met its bound.
    fn renew_memory(&self, slot: &str) -> bool {
        let number = |file| self.memory.read(slot, "", file).and_then(|text| text.trim().parse::<u64>().ok());
        number("memory.usage_in_bytes").is_some_and(|left| left <= MOST_LEFT_CHARGED)
            && number("memory.failcnt") == Some(0)
            // The next bound may be above this one, and memory's may not be above that of memory and swap.
            && self.memory.write_if_there(slot, "", "memory.memsw.limit_in_bytes", "-1").is_ok()
    }

    fn v1(&self) -> [&Tree; 3] {
        [&self.memory, &self.pids, &self.cpu]
    }
}

impl Backend for Hybrid {
    fn v2(&self) -> &Tree {
        &self.v2
    }

    fn make(&self, slot: &str, uid: u32) -> Result<SlotCgroups, SysError> {
        for leaf in ["", "init", "payload"] {
            self.v2.make(slot, leaf)?;
        }
        self.v2.give(slot, "", "cgroup.procs", uid)?;
        self.v2.give(slot, "payload", "cgroup.procs", uid)?;
        let mut self_attach = Vec::new();
        for tree in self.v1() {
            tree.make(slot, "")?;
            self_attach.push(tree.open_file(slot, "", "tasks")?);
        }
        Ok(SlotCgroups {
            init: self.v2.open(slot, "init")?,
            payload: self.v2.open(slot, "payload")?,
            self_attach,
            freeze: self.v2.thaw(slot)?,
            memory_events: self.memory.open_to_read(slot, "", "memory.oom_control")?,
        })
    }

    fn limit(&self, slot: &str, resources: &EffectiveResources) -> Result<(), SysError> {
        let memory = resources.memory_bytes.to_string();
        self.memory.write(slot, "", "memory.limit_in_bytes", &memory)?;
        self.memory.write_if_there(slot, "", "memory.memsw.limit_in_bytes", &memory)?;
        self.pids.write(slot, "", "pids.max", &resources.pids.to_string())?;
        if let Some(milli) = resources.cpu_milli {
            let quota = (CPU_PERIOD_US * milli / 1000).max(1000);
            self.cpu.write(slot, "", "cpu.cfs_quota_us", &quota.to_string())?;
        }
        Ok(())
    }

    fn remove(&self, slot: &str) -> Result<u32, SysError> {
        let mut removed = 0;
        for tree in self.v1() {
            removed += u32::from(tree.remove(slot, "")?);
        }
        Ok(removed + self.remove_v2(slot)?)
    }

    fn recycle(&self, slot: &str, killed: bool) -> Result<u32, SysError> {
        if !self.renew_memory(slot) {
            self.memory.remove(slot, "")?;
        }
        self.cpu.write_if_there(slot, "", "cpu.cfs_quota_us", "-1")?;
        if killed {
            self.remove_v2(slot)?;
        }
        Ok((V2_LEAVES.len() + self.v1().len()) as u32)
    }

    fn slots(&self) -> Vec<String> {
        let mut slots = self.v2.slots();
        slots.extend(self.v1().iter().flat_map(|tree| tree.slots()));
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    fn remains(&self, slot: &str) -> Vec<PathBuf> {
        let v1 = self.v1().into_iter().map(|tree| tree.path(slot, ""));
        v1.chain([self.v2.path(slot, "")]).filter(|path| path.exists()).collect()
    }

    fn remove_home(&self) {
        self.v2.remove_home();
        self.v1().iter().for_each(|tree| tree.remove_home());
    }
}
