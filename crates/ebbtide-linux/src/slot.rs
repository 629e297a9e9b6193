//! A slot: the kernel objects of one sandbox, made before anybody knows whose they will be.
//!
//! Everything that does not depend on a request is made ahead under the slot's name. Giving the slot to a
//! sandbox renames its run directory to the sandbox's id: one atomic step that survives a crash of anybody.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ebbtide_model::SandboxId;
use serde::{Deserialize, Serialize};

use crate::sys_error::{Step, SysError};

/// The names that a slot's kernel objects carry, kept in its run directory for whoever comes later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotFile {
    /// The slot's name, that of its cgroups and its subvolume.
    pub(crate) slot: String,
    /// The number of its user-id range.
    pub(crate) id_range: u32,
}

/// The paths of one home's slots.
#[derive(Debug, Clone)]
pub(crate) struct SlotDirs {
    root: PathBuf,
}

impl SlotDirs {
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { root: run_dir.join("s") }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The run directory of a slot that nobody has, or of a sandbox.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.path(name).join("init.sock")
    }

    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.path(name).join("exit")
    }

    /// Writes the slot's names.
    pub(crate) fn write(&self, file: &SlotFile) -> Result<(), SysError> {
        let path = self.path(&file.slot).join("slot.json");
        let text = serde_json::to_vec(file).map_err(std::io::Error::from).step(|| "encode a slot's names")?;
        let write = || {
            let slot = fs::File::options().create(true).truncate(false).write(true).open(&path)?;
            slot.write_all_at(&text, 0)?;
            slot.set_len(text.len() as u64)
        };
        write().step(|| format!("write {}", path.display()))
    }

    /// Reads the names of the slot behind a run directory; `None` if it does not say.
    ///
    /// # Errors
    /// When it may say, and cannot be read now.
    pub(crate) fn read(&self, name: &str) -> Result<Option<SlotFile>, SysError> {
        let path = self.path(name).join("slot.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(SysError::new(format!("read {}", path.display()), error)),
        }
    }

    /// Gives a slot to a sandbox.
    pub(crate) fn claim(&self, slot: &str, id: &SandboxId) -> Result<(), SysError> {
        fs::rename(self.path(slot), self.path(id.as_str())).step(|| format!("give {slot} to sandbox {id}"))
    }

    /// Takes the run directory of an ended sandbox back for the slot that it was.
    pub(crate) fn renew(&self, name: &str, slot: &str) -> Result<(), SysError> {
        fs::rename(self.path(name), self.path(slot)).step(|| format!("take {slot} back from {name}"))?;
        fs::remove_file(self.socket(slot)).step(|| format!("remove the socket of {slot}"))
    }

    /// Removes a run directory; it may be gone.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SysError> {
        match fs::remove_dir_all(self.path(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.step(|| format!("remove {}", self.path(name).display())),
        }
    }

    /// The names of all run directories.
    ///
    /// # Errors
    /// When they cannot be listed now.
    pub(crate) fn names(&self) -> Result<Vec<String>, SysError> {
        let list = || format!("list {}", self.root.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).step(list)? {
            names.extend(entry.step(list)?.file_name().into_string());
        }
        Ok(names)
    }
}

/// A file, or what it is in, that is not there or no such thing.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A random name for a slot.
pub(crate) fn new_slot_name() -> String {
    // The last characters of an id are random; its alphabet is mapped to that of names.
    let id = SandboxId::generate();
    let digits = id.as_str().as_bytes().iter().rev().take(8);
    let name: String =
        digits.map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)])).collect();
    format!("slot-{name}")
}
