//! The files that tell a sandbox who it is.
//!
//! They are in memory and mounted over the image's own when the slot is made, so that writing them, which somebody waits
//! for, copies nothing up. Nothing of the payload has run by then, and every path is looked up in the new root.

use std::fs::{self, File};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use crate::root::OWN_DIR;
use crate::sys_error::{Step, SysError};

const HOSTS: &str = "/etc/hosts";
const HOSTNAME: &str = "/etc/hostname";

/// Puts empty files in place.
pub(super) fn prepare() -> Result<(), SysError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", OWN_DIR, "tmpfs", flags, Some(c"mode=755,size=64k,nr_inodes=16"))
        .step(|| format!("mount a tmpfs at {OWN_DIR}"))?;
    for path in [HOSTS, HOSTNAME] {
        let name = path.trim_start_matches("/etc/");
        let own = Path::new(OWN_DIR).join(name);
        File::create(&own).step(|| format!("make {}", own.display()))?;
        mount_bind(&own, path).step(|| format!("mount the sandbox's own {path}"))?;
    }
    Ok(())
}

/// Tells the programs inside who they are. A sandbox whose files cannot be written still runs.
pub(super) fn set(hostname: &str) {
    let _ = rustix::system::sethostname(hostname.as_bytes());
    let _ = fs::write(HOSTNAME, format!("{hostname}\n"));
    let _ = fs::write(HOSTS, format!("127.0.0.1 localhost {hostname}\n::1 localhost\n"));
}

/// Makes room for a file that the request brings along in place of one of these.
pub(super) fn give_way_to(path: &str) {
    if [HOSTS, HOSTNAME].contains(&path) {
        let _ = unmount(path, UnmountFlags::NOFOLLOW);
    }
}
