//! Loop devices: the block device that the pool's file is mounted through.
//!
//! One file must never be behind two loop devices, for then two file systems write to it without knowing of each other.
//! So the caller holds a lock on the file, asks [`find`] first and only then [`attach`]es. The device detaches itself when
//! its last user is gone (`LO_FLAGS_AUTOCLEAR`), even after `kill -9`, so nobody has to remember to do it.

#![expect(unsafe_code, reason = "ioctls")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DiskError;
use crate::sys_error::{Step, SysError};

const CONTROL: &str = "/dev/loop-control";
const CTL_GET_FREE: u32 = 0x4C82;
const GET_STATUS64: u32 = 0x4C05;
const CONFIGURE: u32 = 0x4C0A;
const CLEAR: u32 = 0x4C01;
const AUTOCLEAR: u32 = 4;
/// Others take the free device between our two calls; more often than this in a row is not a race any more.
const ATTEMPTS: usize = 64;

/// A loop device that is bound to the file. While this lives the device stays bound.
#[derive(Debug)]
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    /// Keeps the device from detaching itself before it is mounted.
    _open: File,
}

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

impl Info {
    const fn zeroed() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The device that is bound to `file`, if there is one.
pub(super) fn find(file: &File) -> Result<Option<LoopDevice>, DiskError> {
    let wanted = file.metadata().step(|| "read the disk pool's inode")?;
    // Only a bound device has the `loop` directory. Paths in it belong to the mount namespace of whoever bound it, so
    // the inode is what counts.
    let blocks =
        fs::read_dir("/sys/block").map_err(|error| unsupported("/sys/block, to see loop devices", error))?;
    let mut seen = false;
    for entry in blocks {
        seen = true;
        let name = entry.step(|| "list /sys/block")?.file_name();
        let bound = name.as_encoded_bytes().starts_with(b"loop")
            && Path::new("/sys/block").join(&name).join("loop/backing_file").exists();
        if !bound {
            continue;
        }
        let path = Path::new("/dev").join(&name);
        let open = match open(&path) {
            // It is detaching itself; what its file system wrote is in the file already.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => continue,
            open => open.map_err(|error| unsupported(&path.to_string_lossy(), error))?,
        };
        let mut info = Info::zeroed();
        match ioctl(&open, GET_STATUS64, &mut info) {
            Ok(_) if info.device == kernel_device(wanted.dev()) && info.inode == wanted.ino() => {
                return Ok(Some(LoopDevice { path, _open: open }));
            }
            Ok(_) => {}
            // It detached itself since we looked.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => {
                return Err(SysError::new(format!("read the state of {}", path.display()), error).into());
            }
        }
    }
    // Every host has block devices. Not to see any is not to see the one that matters.
    if !seen {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(unsupported("the contents of /sys/block, to see loop devices", missing));
    }
    Ok(None)
}

/// Binds a free device to `file`.
pub(super) fn attach(file: &File) -> Result<LoopDevice, DiskError> {
    let control =
        open(Path::new(CONTROL)).map_err(|error| unsupported("loop devices (/dev/loop-control)", error))?;
    for _ in 0..ATTEMPTS {
        let number = ioctl(&control, CTL_GET_FREE, &mut 0u64)
            .map_err(|error| unsupported("a free loop device (LOOP_CTL_GET_FREE)", error))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let open = open(&path).map_err(|error| unsupported(&path.to_string_lossy(), error))?;
        let mut config =
            Config { fd: file.as_raw_fd() as u32, block_size: 0, info: Info::zeroed(), reserved: [0; 8] };
        config.info.flags = AUTOCLEAR;
        match ioctl(&open, CONFIGURE, &mut config) {
            Ok(_) => return Ok(LoopDevice { path, _open: open }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => {
                return Err(SysError::new(format!("bind {} to the disk pool", path.display()), error).into());
            }
        }
    }
    let error = io::Error::from_raw_os_error(libc::EBUSY);
    Err(unsupported("a free loop device (others take each one first)", error))
}

/// Takes the device at `path` from its file, or has its last user do so.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    ioctl(&open(path)?, CLEAR, &mut 0u64).map(drop)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(path)
}

fn unsupported(missing: &str, source: io::Error) -> DiskError {
    DiskError::Unsupported { missing: missing.to_owned(), source }
}

/// The kernel's own encoding of a device number, as `lo_device` holds it; the C library's differs above 8 bits.
fn kernel_device(device: u64) -> u64 {
    let (major, minor) = (u64::from(libc::major(device)), u64::from(libc::minor(device)));
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

fn ioctl<T>(file: &File, request: u32, argument: &mut T) -> io::Result<i32> {
    // SAFETY: `argument` is the structure that the request is documented to take (or, where it takes none, is not
    // looked at), lives until the call returns, and has no invalid bit patterns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, argument as *mut T) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_compared_in_the_kernels_encoding() {
        assert_eq!(kernel_device(libc::makedev(254, 1)), 0xfe01);
        assert_eq!(kernel_device(libc::makedev(259, 0x12345)), 0x1231_0345);
    }

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
    }
}
