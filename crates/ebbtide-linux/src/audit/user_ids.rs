//! Which range of user ids a namespace was made with, though no process is in it any more.
//!
//! The kernel shows the id map of a user namespace only to those inside. So a child process enters it, reads
//! its own map and ends; nothing else is done there.
#![expect(unsafe_code, reason = "asking for the owner of a namespace and entering it in a child")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ids;

/// `NS_GET_USERNS` of `linux/nsfs.h`.
const GET_USER_NAMESPACE: libc::Ioctl = 0xb701;
/// `NS_GET_NSTYPE` of `linux/nsfs.h`.
const GET_TYPE: libc::Ioctl = 0xb703;

/// The number of the claim whose ids are mapped in the namespace at `path`.
pub(super) fn claim_of(path: &Path) -> Option<u32> {
    ids::index_of(first_id(path)?)
}

/// The id outside that id 0 inside stands for.
fn first_id(path: &Path) -> Option<u32> {
    let space = user_namespace(&File::open(path).ok()?)?;
    let mut command = Command::new("/bin/cat");
    command.arg("/proc/self/uid_map").stdin(Stdio::null()).stderr(Stdio::null()).env_clear();
    // SAFETY: the closure makes one system call on a descriptor that is open in the child, and allocates nothing.
    unsafe {
        command.pre_exec(move || match libc::setns(space.as_raw_fd(), libc::CLONE_NEWUSER) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let map = String::from_utf8(command.output().ok()?.stdout).ok()?;
    map.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == "0").then(|| fields.next()?.parse().ok())?
    })
}

/// The user namespace that `namespace` belongs to, or itself if it is one.
fn user_namespace(namespace: &File) -> Option<OwnedFd> {
    // SAFETY: the request takes no argument and returns a number.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), GET_TYPE) };
    if kind == libc::CLONE_NEWUSER {
        return Some(namespace.try_clone().ok()?.into());
    }
    // SAFETY: the request takes no argument and returns a new descriptor or -1.
    let space = unsafe { libc::ioctl(namespace.as_raw_fd(), GET_USER_NAMESPACE) };
    if space < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(space) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_first_id_of_a_namespace_is_read_from_inside() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut child = Command::new("unshare").args(["--user", "--net", "sleep", "60"]).spawn().unwrap();
        let file = |name: &str| format!("/proc/{}/{name}", child.id());
        let host = std::fs::read_link("/proc/self/ns/net").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(file("ns/net")).unwrap() == host && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        let written = std::fs::write(file("uid_map"), "0 1879506944 65536");
        let (net, user) = (claim_of(Path::new(&file("ns/net"))), claim_of(Path::new(&file("ns/user"))));
        child.kill().unwrap();
        child.wait().unwrap();
        written.unwrap();
        assert_eq!((net, user), (Some(7), Some(7)));
        assert_eq!(claim_of(Path::new("/proc/self/ns/net")), None);
    }
}
