//! The few btrfs ioctls that the disk pool needs, as safe functions over descriptors.
//!
//! Numbers and layouts are those of `linux/btrfs.h`. They are stable kernel interface, the same on x86_64 and aarch64,
//! and small enough that a crate (or the `btrfs` program) would cost more than it saves.

#![expect(unsafe_code, reason = "ioctls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const MAGIC: u32 = 0x94;
/// The magic of requests that every file system has.
const COMMON_MAGIC: u32 = b'X' as u32;
const WRITE: u32 = 1;
const READ: u32 = 2;

const RESIZE: u32 = request(MAGIC, WRITE, 3, size_of::<VolumeArgs>());
const SUBVOLUME_CREATE: u32 = request(MAGIC, WRITE, 14, size_of::<VolumeArgs>());
const SNAPSHOT_DESTROY: u32 = request(MAGIC, WRITE, 15, size_of::<VolumeArgs>());
const INODE_LOOKUP: u32 = request(MAGIC, READ | WRITE, 18, size_of::<LookupArgs>());
const FS_INFO: u32 = request(MAGIC, READ, 31, size_of::<FsInfo>());
const QUOTA_CONTROL: u32 = request(MAGIC, READ | WRITE, 40, size_of::<[u64; 2]>());
const QGROUP_CREATE: u32 = request(MAGIC, WRITE, 42, size_of::<[u64; 2]>());
const QGROUP_LIMIT: u32 = request(MAGIC, READ, 43, size_of::<[u64; 6]>());
const FITRIM: u32 = request(COMMON_MAGIC, READ | WRITE, 121, size_of::<[u64; 3]>());

const QUOTA_ENABLE: u64 = 1;
/// Since Linux 6.7: an extent belongs to the subvolume that made it, so accounting costs nothing at commit time.
const QUOTA_ENABLE_SIMPLE: u64 = 4;
const LIMIT_REFERENCED: u64 = 1;
/// Object id of the root directory of every subvolume.
const FIRST_FREE_OBJECT: u64 = 256;
const NAME_MAX: usize = 255;

const fn request(magic: u32, direction: u32, number: u32, size: usize) -> u32 {
    direction << 30 | (size as u32) << 16 | magic << 8 | number
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

impl VolumeArgs {
    fn named(name: &str) -> io::Result<Self> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > NAME_MAX || bytes.contains(&b'/') || bytes.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut args = Self { fd: 0, name: [0; 4088] };
        args.name[..bytes.len()].copy_from_slice(bytes);
        Ok(args)
    }
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct LookupArgs {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
struct FsInfo {
    max_id: u64,
    devices: u64,
    fsid: [u8; 16],
    rest: [u8; 992],
}

/// How a pool counts what each subvolume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Simple quotas (Linux 6.7 and later).
    Simple,
    /// Full qgroups: slower at commit time, right all the same.
    Full,
}

/// Grows the file system to its device.
pub(super) fn grow(root: BorrowedFd<'_>) -> io::Result<()> {
    ioctl(root, RESIZE, &mut VolumeArgs::named("max")?)
}

/// Switches quotas on, simple ones where the kernel has them; on a pool that has quotas this changes nothing.
pub(super) fn enable_quota(root: BorrowedFd<'_>) -> io::Result<Quota> {
    match ioctl(root, QUOTA_CONTROL, &mut [QUOTA_ENABLE_SIMPLE, 0u64]) {
        Ok(()) => Ok(Quota::Simple),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            enable_full_quota(root).map(|()| Quota::Full)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn enable_full_quota(root: BorrowedFd<'_>) -> io::Result<()> {
    ioctl(root, QUOTA_CONTROL, &mut [QUOTA_ENABLE, 0u64])
}

/// Makes a subvolume in the directory `parent`.
pub(super) fn create(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    ioctl(parent, SUBVOLUME_CREATE, &mut VolumeArgs::named(name)?)
}

/// Drops a subvolume of the directory `parent` with all that it holds; its space comes back in the background.
pub(super) fn destroy(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    ioctl(parent, SNAPSHOT_DESTROY, &mut VolumeArgs::named(name)?)
}

/// The id of the subvolume that `directory` lies in.
pub(super) fn id(directory: BorrowedFd<'_>) -> io::Result<u64> {
    let mut args = LookupArgs { tree: 0, object: FIRST_FREE_OBJECT, name: [0; 4080] };
    ioctl(directory, INODE_LOOKUP, &mut args)?;
    Ok(args.tree)
}

/// The id of the file system that `directory` lies in, as the kernel writes it.
pub(super) fn uuid(directory: BorrowedFd<'_>) -> io::Result<String> {
    let mut info = FsInfo { max_id: 0, devices: 0, fsid: [0; 16], rest: [0; 992] };
    ioctl(directory, FS_INFO, &mut info)?;
    let byte = |(place, byte): (usize, &u8)| {
        let hyphen = if [4, 6, 8, 10].contains(&place) { "-" } else { "" };
        format!("{hyphen}{byte:02x}")
    };
    Ok(info.fsid.iter().enumerate().map(byte).collect())
}

/// Bounds what the subvolume that `directory` lies in may hold.
pub(super) fn limit(directory: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    // Qgroup 0 means "that of the subvolume of this descriptor".
    ioctl(directory, QGROUP_LIMIT, &mut [0u64, LIMIT_REFERENCED, bytes, 0, 0, 0])
}

/// Removes the qgroup of a subvolume that is gone: `Ok(false)` while the kernel still frees what it held.
pub(super) fn remove_qgroup(root: BorrowedFd<'_>, subvolume: u64) -> io::Result<bool> {
    match ioctl(root, QGROUP_CREATE, &mut [0u64, subvolume]) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EBUSY) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Punches holes into the device where the file system keeps nothing.
pub(super) fn trim(root: BorrowedFd<'_>) -> io::Result<()> {
    ioctl(root, FITRIM, &mut [0, u64::MAX, 0u64])
}

fn ioctl<T>(fd: impl AsFd, request: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: every request of this module encodes the size of the structure that it is given here, so the kernel
    // reads and writes no more than `argument`, which lives until the call returns and has no invalid bit patterns.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as libc::Ioctl, argument as *mut T) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
