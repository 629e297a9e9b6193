//! Capabilities and the two process flags that belong to them.
//!
//! All of this is inside the sandbox's user namespace, so even what is kept reaches nothing of the host. The set is what
//! Docker gives, less raw sockets and device nodes: enough for package managers, `su` and servers on low ports.
//!
//! The bounding set is limited once, by init: it is inherited, it is what a root shell regains at every exec, and it is
//! 30 system calls. The sets proper are dropped after the fork of each program.

use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys_error::{Step, SysError};

/// What a root process inside a sandbox may have.
pub(crate) const PAYLOAD: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::AUDIT_WRITE);

/// Takes all but [`PAYLOAD`] from what an exec can give, for the calling thread and its descendants, for ever.
/// The thread's own capabilities stay until [`drop_to`]. Needs CAP_SETPCAP.
pub(crate) fn limit_bounding_set() -> Result<(), SysError> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if PAYLOAD.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel numbers them without gaps: this is the first that it does not have.
            Err(Errno::INVAL) => break,
            Err(error) => {
                return Err(SysError::new(format!("take capability {number} from the bounding set"), error));
            }
        }
    }
    Ok(())
}

/// Drops every capability of the calling thread but those of `keep`. Nothing is inheritable or ambient afterwards, so a
/// program that is not root starts with none.
pub(crate) fn drop_to(keep: CapabilitySet) -> Result<(), SysError> {
    rustix::thread::clear_ambient_capability_set().step(|| "clear the ambient capabilities")?;
    let now = rustix::thread::capabilities(None).step(|| "read the capabilities")?.permitted;
    let kept = now.intersection(keep);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step(|| "drop the capabilities")
}

/// No program started from here on gains anything by set-user-id bits or file capabilities.
pub(crate) fn no_new_privs() -> Result<(), SysError> {
    rustix::thread::set_no_new_privs(true).step(|| "switch off new privileges")
}

/// Whether others of the same user may trace this process or open what is under its `/proc/PID`; exec sets it again.
pub(crate) fn set_dumpable(dumpable: bool) -> Result<(), SysError> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior).step(|| "set the process's dumpable flag")
}

#[cfg(test)]
#[expect(unsafe_code, reason = "capabilities can only be given up for good, so each test does it in a child")]
mod tests {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// The capability lines of the status of a program that is started after `prepare`.
    fn status_after(prepare: fn() -> Result<(), SysError>) -> Vec<(String, u64)> {
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        // SAFETY: `prepare` makes system calls only.
        unsafe { command.pre_exec(move || prepare().map_err(|error| error.source)) };
        let output = command.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| line.starts_with("Cap") || line.starts_with("NoNewPrivs"))
            .map(|line| line.split_once(":\t").unwrap())
            .map(|(name, value)| (name.to_owned(), u64::from_str_radix(value, 16).unwrap()))
            .collect()
    }

    fn sets(values: [u64; 6]) -> Vec<(String, u64)> {
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
        names.iter().map(ToString::to_string).zip(values).collect()
    }

    #[test]
    fn a_root_program_starts_with_the_payload_set_and_no_more() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let keep = PAYLOAD.bits();
        let found = status_after(|| {
            limit_bounding_set()?;
            no_new_privs()?;
            drop_to(PAYLOAD)
        });
        assert_eq!(found, sets([0, keep, keep, keep, 0, 1]));
        // A second time finds nothing more to drop, and no error.
        let found = status_after(|| {
            limit_bounding_set()?;
            drop_to(PAYLOAD)?;
            limit_bounding_set()?;
            drop_to(PAYLOAD)
        });
        assert_eq!(found, sets([0, keep, keep, keep, 0, 0]));
    }

    #[test]
    fn a_user_programs_sets_are_empty() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let found = status_after(|| {
            limit_bounding_set()?;
            drop_to(PAYLOAD)?;
            // SAFETY: a system call with a constant argument.
            match unsafe { libc::setuid(4242) } {
                0 => Ok(()),
                _ => Err(SysError::new("set the user id", io::Error::last_os_error())),
            }
        });
        assert_eq!(found, sets([0, 0, 0, PAYLOAD.bits(), 0, 0]));
    }

    #[test]
    fn the_dumpable_flag_is_set() {
        let mut command = Command::new("true");
        let check = || {
            set_dumpable(false).map_err(|error| error.source)?;
            match rustix::process::dumpable_behavior()? {
                DumpableBehavior::NotDumpable => Ok(()),
                _ => Err(io::ErrorKind::Other.into()),
            }
        };
        // SAFETY: the closure makes two system calls.
        unsafe { command.pre_exec(check) };
        assert!(command.status().unwrap().success());
    }
}
