//! The disk pool: bounded disk space for sandboxes.
//!
//! One sparse file holds a btrfs file system on a loop device; each sandbox gets a subvolume with a quota. Making one costs
//! tens of microseconds, dropping one does not depend on what was written, and a write past the bound is an error inside
//! that sandbox alone. File systems per sandbox cost milliseconds, and project quotas are seldom switched on.
//!
//! The pool is mounted in the launcher's private mount namespace only. The kernel frees mount and loop device with the
//! last process that uses them, so a crash leaves a file at most. Nothing in the pool outlives the sandboxes: a pool that
//! no loop device holds has no user, and [`Pool::open`] makes it anew rather than trust what a crash may have left.

mod btrfs;
mod loop_device;
mod template;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, StatVfsMountFlags, fallocate};
use rustix::mount::MountFlags;

pub use self::btrfs::Quota;
use self::loop_device::LoopDevice;
use crate::sys_error::{Step, SysError};

/// Below this the file system has no room for its own metadata.
const MIN_SIZE: u64 = 256 << 20;
/// Whoever holds the file's lock is another launcher in the midst of [`Pool::open`], which takes far less.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// What the file system of the pool needs to stay whole: its superblock and the chunks that the template has for its trees.
/// Their place on the host's disk is taken at once, since btrfs stops for good, for every sandbox, when it cannot write them.
/// Where the host's disk is full, a write of a sandbox then fails, and its next one works when there is room again.
const RESERVED: [(u64, u64); 2] = [(0, 13 << 20), (64 << 20, 4096)];
/// How long a device may take to be let go by a user that is ending.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
/// A crash of the host ends every sandbox, so barriers and the log protect nothing here; barriers would make every
/// `fsync` inside a sandbox wait for the host's disk. Space of dropped subvolumes returns with a commit: every 10 s.
const OPTIONS: &str = "nodiscard,nobarrier,commit=10";

/// What can go wrong with the disk pool.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// This host cannot have a disk pool; the memory class works without.
    #[error("no disk pool on this host, {missing} is missing: {source}")]
    Unsupported {
        /// What the host lacks.
        missing: String,
        /// How that showed.
        source: io::Error,
    },
    /// The pool's file system refuses to work though sandboxes use it.
    #[error("the disk pool {} is damaged and in use: end its sandboxes, then start again: {source}", file.display())]
    Damaged {
        /// The pool's file.
        file: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is too little space left.
    #[error(
        "the disk pool has {free} bytes left, {wanted} are needed: end sandboxes or free space on the host's disk"
    )]
    Full {
        /// What was asked for.
        wanted: u64,
        /// What there is.
        free: u64,
    },
    /// There is no such subvolume.
    #[error("no subvolume {name} in the disk pool")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
}

/// The mounted pool.
#[derive(Debug)]
pub struct Pool {
    file: PathBuf,
    mount_at: PathBuf,
    device: PathBuf,
    quota: Quota,
    root: OwnedFd,
    /// Where the kernel tells what each subvolume holds.
    qgroups: PathBuf,
    dropped: Dropped,
}

/// The directory of one sandbox, bounded in size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number in the pool.
    pub id: u64,
    /// Where it is, in the launcher's mount namespace.
    pub path: PathBuf,
}

/// Qgroups of dropped subvolumes. Since 6.11 the kernel removes those itself; before, it keeps them for ever.
#[derive(Debug, Default)]
struct Dropped {
    ids: Vec<u64>,
    kernel_removes: bool,
}

/// Lets go of the loop device at `path`; one that is in use goes with its last user.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    loop_device::detach(path)
}

/// Removes the subvolume `name` of a pool that is mounted at `pool`.
pub(crate) fn destroy_in(pool: &Path, name: &str) -> io::Result<()> {
    btrfs::destroy(File::open(pool)?.as_fd(), name)
}

impl Pool {
    /// Mounts the pool of `file` on the directory `mount_at`, both of which are made when absent.
    ///
    /// At most `size_bytes` are used, less where the host's disk has less.
    ///
    /// A pool that is in use (its sandboxes outlived a launcher) is mounted again as it is; otherwise it starts empty. So does
    /// one in the place of a pool that is in use and damaged: that stays with the sandboxes that use it, and goes with them.
    pub fn open(file: &Path, mount_at: &Path, size_bytes: u64) -> Result<Self, DiskError> {
        match Self::open_in_place(file, mount_at, size_bytes) {
            Err(DiskError::Damaged { .. }) => {
                fs::remove_file(file).step(|| format!("set the disk pool {} aside", file.display()))?;
                let _ = rustix::mount::unmount(mount_at, rustix::mount::UnmountFlags::DETACH);
                Self::open_in_place(file, mount_at, size_bytes)
            }
            opened => opened,
        }
    }

    fn open_in_place(file: &Path, mount_at: &Path, size_bytes: u64) -> Result<Self, DiskError> {
        fs::create_dir_all(mount_at).step(|| format!("make the directory {}", mount_at.display()))?;
        let lock = open_file(file).step(|| format!("open the disk pool {}", file.display()))?;
        lock_exclusively(&lock).step(|| format!("lock the disk pool {}", file.display()))?;
        let (device, root) = match mount_again(&lock, mount_at, file)? {
            Some(found) => found,
            None => {
                let new = make(file, pool_size(file, size_bytes)?)
                    .step(|| format!("make the disk pool {}", file.display()))?;
                let device = loop_device::attach(&new)?;
                let root = mount(&device.path, mount_at).map_err(|error| match error.errno() {
                    Some(libc::ENODEV) => {
                        DiskError::Unsupported { missing: "btrfs".to_owned(), source: error.source }
                    }
                    _ => error.into(),
                })?;
                (device, root)
            }
        };
        btrfs::grow(root.as_fd())
            .step(|| "grow the disk pool to its size")
            .map_err(|error| damaged_or(error, file))?;
        let quota = btrfs::enable_quota(root.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP) => {
                DiskError::Unsupported { missing: "btrfs quotas".to_owned(), source: error }
            }
            _ => SysError::new("switch on the disk pool's quotas", error).into(),
        })?;
        let uuid = btrfs::uuid(root.as_fd()).step(|| "read the disk pool's id")?;
        Ok(Self {
            file: file.to_owned(),
            mount_at: mount_at.to_owned(),
            device: device.path,
            quota,
            root,
            qgroups: Path::new("/sys/fs/btrfs").join(uuid).join("qgroups"),
            dropped: Dropped::default(),
        })
    }

    /// Whether its file system has stopped taking writes, which it never does again.
    pub fn is_damaged(&self) -> bool {
        let flags = rustix::fs::fstatvfs(&self.root).map(|stat| stat.f_flag);
        flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY))
    }

    /// Makes a subvolume that holds `limit_bytes` at most. Its root belongs to root, mode 0755.
    ///
    /// A limit is not a reservation: who must not be disappointed compares with [`Pool::free_bytes`] before.
    pub fn create(&mut self, name: &str, limit_bytes: u64) -> Result<Subvolume, DiskError> {
        btrfs::create(self.root.as_fd(), name)
            .step(|| format!("make the subvolume {name}"))
            .map_err(|error| damaged_or(error, &self.file))?;
        let bounded = self.directory(name).and_then(|directory| {
            btrfs::limit(directory.as_fd(), limit_bytes).step(|| format!("bound the subvolume {name}"))?;
            Ok(btrfs::id(directory.as_fd()).step(|| format!("number the subvolume {name}"))?)
        });
        match bounded {
            Ok(id) => Ok(Subvolume { id, path: self.mount_at.join(name) }),
            Err(error) => {
                // Unbounded is worse than absent; the error that counts is the first.
                let _ = btrfs::destroy(self.root.as_fd(), name);
                Err(error)
            }
        }
    }

    /// Changes what a subvolume may hold. One that holds more already keeps it and cannot write until it holds less.
    pub fn set_limit(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let directory = self.directory(name)?;
        btrfs::limit(directory.as_fd(), bytes)
            .step(|| format!("bound the subvolume {name}"))
            .map_err(|error| damaged_or(error, &self.file))
    }

    /// How many bytes a subvolume holds, with those that wait to be written to the disk; none where the kernel does not
    /// tell.
    pub fn used_bytes(&self, name: &str) -> Result<u64, DiskError> {
        let id = btrfs::id(self.directory(name)?.as_fd()).step(|| format!("number the subvolume {name}"))?;
        let qgroup = self.qgroups.join(format!("0_{id}"));
        let number = |file| fs::read_to_string(qgroup.join(file)).ok()?.trim().parse::<u64>().ok();
        Ok(["referenced", "rsv_data"].into_iter().filter_map(number).sum())
    }

    /// Drops a subvolume with all that it holds. Its space comes back in the background.
    pub fn destroy(&mut self, name: &str) -> Result<(), DiskError> {
        let id = btrfs::id(self.directory(name)?.as_fd()).step(|| format!("number the subvolume {name}"))?;
        btrfs::destroy(self.root.as_fd(), name)
            .step(|| format!("drop the subvolume {name}"))
            .map_err(|error| damaged_or(error, &self.file))?;
        self.dropped.note(id, &self.root);
        Ok(())
    }

    /// The names of all subvolumes.
    pub fn list(&self) -> Result<Vec<String>, DiskError> {
        let entries = fs::read_dir(&self.mount_at).step(|| "list the disk pool")?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(names.collect::<io::Result<Vec<_>>>().step(|| "list the disk pool")?)
    }

    /// How many bytes can be written to the pool now: bounded by the pool's own size, and by the host's disk under it,
    /// where what the file occupies already counts as free once the pool no longer uses it.
    pub fn free_bytes(&self) -> Result<u64, DiskError> {
        let pool = rustix::fs::fstatvfs(&self.root).step(|| "read the disk pool's free space")?;
        let host = rustix::fs::statvfs(&self.file).step(|| "read the host's free space")?;
        let occupied = fs::metadata(&self.file).step(|| "read the disk pool's size")?.blocks() * 512;
        let used = (pool.f_blocks - pool.f_bfree) * pool.f_frsize;
        let host_free = host.f_bavail * host.f_frsize + occupied.saturating_sub(used);
        Ok(host_free.min(pool.f_bavail * pool.f_frsize))
    }

    /// Gives the host the space back that dropped sandboxes occupied in the pool's file. Takes milliseconds and more, so
    /// this is for idle moments.
    pub fn trim(&self) -> Result<(), DiskError> {
        let step = || "give the disk pool's free space back";
        btrfs::trim(self.root.as_fd()).step(step)?;
        // What the trees do not use at the moment went with the rest.
        Ok(File::options().write(true).open(&self.file).and_then(|file| reserve(&file)).step(step)?)
    }

    /// How the pool counts what its subvolumes hold.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The loop device under the pool.
    pub fn device(&self) -> &Path {
        &self.device
    }

    fn directory(&self, name: &str) -> Result<OwnedFd, DiskError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, name, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOENT => DiskError::NotFound { name: name.to_owned() },
            error => SysError::new(format!("open the subvolume {name}"), error).into(),
        })
    }
}

impl Dropped {
    /// So many at once that the work is rare, so few that it is short.
    const BATCH: usize = 32;

    /// A qgroup must not go before its subvolume is cleared away, so it waits for a batch of others to be dropped after it.
    fn note(&mut self, id: u64, root: &OwnedFd) {
        if self.kernel_removes {
            return;
        }
        self.ids.push(id);
        if self.ids.len() < 2 * Self::BATCH || !self.ids.len().is_multiple_of(Self::BATCH) {
            return;
        }
        let oldest: Vec<u64> = self.ids.drain(..Self::BATCH).collect();
        for id in oldest {
            match btrfs::remove_qgroup(root.as_fd(), id) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.kernel_removes = true,
                Ok(false) => self.ids.push(id),
                Ok(true) | Err(_) => {}
            }
        }
        if self.kernel_removes {
            self.ids = Vec::new();
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

fn lock_exclusively(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return Ok(result?),
        }
    }
}

/// Mounts the device that is bound to the pool's file already, if there is one.
fn mount_again(file: &File, at: &Path, path: &Path) -> Result<Option<(LoopDevice, OwnedFd)>, DiskError> {
    let deadline = Instant::now() + RELEASE_PATIENCE;
    while let Some(device) = loop_device::find(file)? {
        match mount(&device.path, at) {
            Ok(root) => return Ok(Some((device, root))),
            Err(error) if Instant::now() > deadline => {
                return Err(DiskError::Damaged { file: path.to_owned(), source: error.source });
            }
            // A damaged pool whose last user is just leaving is free to be made anew when its device is let go.
            Err(_) => {
                drop(device);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Ok(None)
}

/// A pool that stopped taking writes to save what it has: its device failed, most likely as the host's disk was full.
fn damaged_or(error: SysError, file: &Path) -> DiskError {
    match error.errno() {
        Some(libc::EROFS) => DiskError::Damaged { file: file.to_owned(), source: error.source },
        _ => error.into(),
    }
}

/// A pool that meets the end of the host's disk fails for all its sandboxes at once, so it must not be larger than that.
fn pool_size(file: &Path, wanted: u64) -> Result<u64, DiskError> {
    let host = rustix::fs::statvfs(file).step(|| "read the host's free space")?;
    let occupied = fs::metadata(file).step(|| "read the disk pool's size")?.blocks() * 512;
    let free = host.f_bavail * host.f_frsize + occupied;
    let size = wanted.min(free - free / 10);
    if size < MIN_SIZE { Err(DiskError::Full { wanted: MIN_SIZE, free }) } else { Ok(size & !0xffff) }
}

/// An empty file system in `path`. The descriptor is of its own, for the loop device keeps it (and would keep the lock).
fn make(path: &Path, size_bytes: u64) -> io::Result<File> {
    let file = open_file(path)?;
    file.set_len(0)?;
    let mut fsid = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut fsid)?;
    template::write(&file, &fsid)?;
    file.set_len(size_bytes)?;
    reserve(&file)?;
    Ok(file)
}

/// Takes what is [`RESERVED`] on the host's disk, where its file system can.
fn reserve(file: &File) -> io::Result<()> {
    for (offset, length) in RESERVED {
        match fallocate(file, FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn mount(device: &Path, at: &Path) -> Result<OwnedFd, SysError> {
    let flags = MountFlags::NOATIME | MountFlags::NOSUID | MountFlags::NODEV;
    let options = std::ffi::CString::new(OPTIONS).map_err(io::Error::from).step(|| "mount options")?;
    rustix::mount::mount(device, at, OsStr::new("btrfs"), flags, options.as_c_str())
        .step(|| format!("mount {} on {}", device.display(), at.display()))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(at, flags, Mode::empty()).step(|| format!("open {}", at.display()))
}
