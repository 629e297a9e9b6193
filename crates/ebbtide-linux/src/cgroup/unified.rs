//! Hosts with cgroup v2 alone.
//!
//! A cgroup with controllers for its children may hold no process of its own, which is the other reason why
//! init has a leaf beside the payload's.

use std::fs;
use std::path::PathBuf;

use ebbtide_model::EffectiveResources;

use super::{Backend, SlotCgroups, Tree};
use crate::sys_error::{Step, SysError};

pub(super) struct Unified {
    v2: Tree,
}

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
const ENABLE: &str = "+memory +pids +cpu";
const CPU_PERIOD_US: u64 = 100_000;

impl Unified {
    /// Whether the hierarchy offers the controllers that the limits need.
    pub(super) fn fits(v2: &Tree) -> bool {
        let offered = fs::read_to_string(v2.root().join("cgroup.controllers")).unwrap_or_default();
        CONTROLLERS.iter().all(|controller| offered.split_whitespace().any(|name| name == *controller))
    }

    pub(super) fn new(v2: Tree) -> Result<Self, SysError> {
        fs::create_dir_all(v2.home()).step(|| format!("make the cgroup {}", v2.home().display()))?;
        for dir in [v2.root(), v2.home().parent().unwrap_or(v2.root()), v2.home()] {
            let file = dir.join("cgroup.subtree_control");
            fs::write(&file, ENABLE).step(|| format!("write {ENABLE:?} to {}", file.display()))?;
        }
        Ok(Self { v2 })
    }
}

impl Backend for Unified {
    fn v2(&self) -> &Tree {
        &self.v2
    }

    fn make(&self, slot: &str, uid: u32) -> Result<SlotCgroups, SysError> {
        self.v2.make(slot, "")?;
        self.v2.write(slot, "", "cgroup.subtree_control", ENABLE)?;
        self.v2.make(slot, "init")?;
        self.v2.make(slot, "payload")?;
        self.v2.give(slot, "", "cgroup.procs", uid)?;
        self.v2.give(slot, "payload", "cgroup.procs", uid)?;
        let (init, payload) = (self.v2.open(slot, "init")?, self.v2.open(slot, "payload")?);
        Ok(SlotCgroups {
            init,
            payload,
            self_attach: Vec::new(),
            freeze: self.v2.thaw(slot)?,
            memory_events: self.v2.open_to_read(slot, "payload", "memory.events")?,
        })
    }

    fn limit(&self, slot: &str, resources: &EffectiveResources) -> Result<(), SysError> {
        self.v2.write(slot, "payload", "memory.max", &resources.memory_bytes.to_string())?;
        self.v2.write_if_there(slot, "payload", "memory.swap.max", "0")?;
        self.v2.write(slot, "payload", "pids.max", &resources.pids.to_string())?;
        if let Some(milli) = resources.cpu_milli {
            let quota = (CPU_PERIOD_US * milli / 1000).max(1000);
            self.v2.write(slot, "payload", "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
        }
        Ok(())
    }

    fn remove(&self, slot: &str) -> Result<u32, SysError> {
        let mut removed = 0;
        for leaf in ["payload", "init", ""] {
            removed += u32::from(self.v2.remove(slot, leaf)?);
        }
        Ok(removed)
    }

    fn slots(&self) -> Vec<String> {
        self.v2.slots()
    }

    fn remains(&self, slot: &str) -> Vec<PathBuf> {
        [self.v2.path(slot, "")].into_iter().filter(|path| path.exists()).collect()
    }

    fn remove_home(&self) {
        self.v2.remove_home();
    }
}
