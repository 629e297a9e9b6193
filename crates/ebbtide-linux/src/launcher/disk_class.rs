//! Where a sandbox's writes go: the bounded disk pool, or memory where the host cannot have one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::failed;
use crate::disk::{DiskError, Pool};
use crate::protocol::{Ceiling, Refusal};
use crate::sys_error::{Step, SysError};

/// What the host must keep free for itself and for each sandbox that lives, or the next one is refused.
const RESERVE: u64 = 128 << 20;
const RESERVE_EACH: u64 = 8 << 20;

pub(super) enum DiskClass {
    /// A subvolume of the pool per sandbox.
    Disk { pool: Pool, at: PathBuf },
    /// A tmpfs per sandbox, in the launcher's mount namespace.
    Memory { at: PathBuf },
}

impl DiskClass {
    pub(super) fn open(file: &Path, at: &Path, size: u64) -> Result<Self, Refusal> {
        fs::create_dir_all(at).step(|| format!("make {}", at.display())).map_err(|error| failed(&error))?;
        match Pool::open(file, at, size) {
            Ok(pool) => Ok(Self::Disk { pool, at: at.to_owned() }),
            Err(error @ DiskError::Unsupported { .. }) => {
                eprintln!("ebb internal-launcher: {error}; sandboxes write to memory");
                Ok(Self::Memory { at: at.to_owned() })
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Starts a new pool in the place of one that takes no writes any more; answers whether it did. What is on the old one
    /// stays with the sandboxes that use it, which can still read it.
    pub(super) fn heal(&mut self, file: &Path, size: u64) -> Result<bool, Refusal> {
        let Self::Disk { pool, at } = self else { return Ok(false) };
        if !pool.is_damaged() {
            return Ok(false);
        }
        let at = at.clone();
        eprintln!("ebb internal-launcher: the disk pool is damaged (was the disk full?); starting a new one");
        let _ = unmount(&at, UnmountFlags::DETACH);
        let _ = fs::remove_file(file);
        *self = Self::open(file, &at, size)?;
        Ok(true)
    }

    /// Refuses early what would fail the neighbours later.
    pub(super) fn reserve(&self, bytes: u64, live: usize) -> Result<(), Refusal> {
        let Self::Disk { pool, at } = self else { return Ok(()) };
        let size = rustix::fs::statvfs(at).map_or(u64::MAX, |stat| stat.f_blocks * stat.f_frsize);
        if bytes > size {
            return Err(Refusal::AboveCeiling { what: Ceiling::Disk, asked: bytes, available: size });
        }
        let free = pool.free_bytes().map_err(|error| refusal(&error))?;
        let needed = RESERVE + RESERVE_EACH * (live as u64 + 1);
        if free < needed {
            return Err(Refusal::NoRoom(format!(
                "the disk has {} MiB left and {} MiB must stay free",
                free >> 20,
                needed >> 20
            )));
        }
        Ok(())
    }

    /// Makes the directory that a slot's writes go to.
    pub(super) fn create(&mut self, slot: &str, bytes: u64) -> Result<PathBuf, Refusal> {
        match self {
            Self::Disk { pool, .. } => {
                pool.create(slot, bytes).map(|subvolume| subvolume.path).map_err(|error| refusal(&error))
            }
            Self::Memory { at } => {
                let path = at.join(slot);
                let data = std::ffi::CString::new(format!("mode=0755,size={bytes}")).unwrap_or_default();
                let flags = MountFlags::NODEV | MountFlags::NOSUID;
                fs::create_dir_all(&path)
                    .and_then(|()| Ok(mount("ebb-disk", &path, "tmpfs", flags, Some(data.as_c_str()))?))
                    .step(|| format!("mount a tmpfs at {}", path.display()))
                    .map_err(|error| failed(&error))?;
                Ok(path)
            }
        }
    }

    /// The directory of a slot.
    pub(super) fn place(&self, slot: &str) -> PathBuf {
        match self {
            Self::Disk { at, .. } | Self::Memory { at } => at.join(slot),
        }
    }

    pub(super) fn set_limit(&self, slot: &str, bytes: u64, memory: u64) -> Result<(), Refusal> {
        match self {
            Self::Disk { pool, .. } => pool.set_limit(slot, bytes).map_err(|error| refusal(&error)),
            Self::Memory { at } => {
                let size = bytes.min(memory / 2);
                let data = std::ffi::CString::new(format!("size={size}")).unwrap_or_default();
                mount_remount(at.join(slot), MountFlags::NODEV | MountFlags::NOSUID, data.as_c_str())
                    .step(|| format!("bound the memory disk of {slot}"))
                    .map_err(|error| failed(&error))
            }
        }
    }

    /// How many bytes a slot's writes take.
    pub(super) fn used_bytes(&self, slot: &str) -> u64 {
        match self {
            Self::Disk { pool, .. } => pool.used_bytes(slot).unwrap_or(0),
            Self::Memory { at } => rustix::fs::statvfs(at.join(slot))
                .map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * stat.f_frsize),
        }
    }

    /// Drops a slot's writes; answers whether there were any.
    pub(super) fn destroy(&mut self, slot: &str) -> Result<bool, SysError> {
        match self {
            Self::Disk { pool, .. } => match pool.destroy(slot) {
                Ok(()) => Ok(true),
                Err(DiskError::NotFound { .. }) => Ok(false),
                Err(DiskError::System(error)) => Err(error),
                Err(error) => Err(SysError::new("drop a sandbox's disk", std::io::Error::other(error))),
            },
            Self::Memory { at } => {
                let path = at.join(slot);
                if !path.exists() {
                    return Ok(false);
                }
                let _ = unmount(&path, UnmountFlags::DETACH);
                fs::remove_dir(&path).step(|| format!("remove {}", path.display()))?;
                Ok(true)
            }
        }
    }

    /// Gives the host back what ended sandboxes have written. For idle moments: it takes milliseconds.
    pub(super) fn trim(&self) {
        if let Self::Disk { pool, .. } = self
            && let Err(error) = pool.trim()
        {
            eprintln!("ebb internal-launcher: {error}");
        }
    }

    /// Lets go of the pool, whose content outlives no sandbox, and waits, bounded, until the kernel has: the overlays of the last sandboxes are
    /// released a moment after their processes.
    pub(super) fn close(&mut self, file: &Path) {
        let Self::Disk { pool, at } = self else { return };
        let (at, device) = (at.clone(), pool.device().to_owned());
        *self = Self::Memory { at: at.clone() };
        let _ = unmount(&at, UnmountFlags::DETACH);
        let _ = fs::remove_file(file);
        let Some(device) = device.file_name() else { return };
        let busy = Path::new("/sys/block").join(device).join("loop");
        for _ in 0..2000 {
            if !busy.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The slots that have something here.
    pub(super) fn slots(&self) -> Vec<String> {
        match self {
            Self::Disk { pool, .. } => pool.list().unwrap_or_default(),
            Self::Memory { at } => {
                let entries = fs::read_dir(at).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
        }
    }
}

fn refusal(error: &DiskError) -> Refusal {
    match error {
        DiskError::System(error) => failed(error),
        DiskError::Full { .. } => Refusal::NoRoom(error.to_string()),
        error => Refusal::Failed { step: error.to_string(), errno: libc::EIO },
    }
}
