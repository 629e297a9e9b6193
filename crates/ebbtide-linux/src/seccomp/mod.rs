//! The system call filter of the payload: the last wall, when namespaces and capabilities have been got around.
//!
//! Our own small assembler rather than a library: `libseccomp` is native code, and pure Rust crates emit a chain of
//! comparisons, which is what makes loading slow (see `program`). The policy is data, in `policy`.

#![expect(unsafe_code, reason = "loading the filter is a system call of its own")]

mod numbers;
mod policy;
mod program;
#[cfg(test)]
mod tests;

use std::io;

use libc::sock_filter;

use self::policy::{ALLOW, ALLOW_HERE, ALLOWED, REFUSE, REFUSE_HERE, REFUSED, RULES, Rule};

/// A filter, ready to be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// The filter of programs inside a sandbox. Made once, before the fork: it allocates.
    pub(crate) fn payload() -> Self {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut ranges = program::ranges(calls());
        // The second set of numbers that x86_64 has for 32-bit pointers: a way around every table, used by nobody.
        #[cfg(target_arch = "x86_64")]
        ranges.extend([
            program::Range { first: 0x4000_0000, rule: policy::KILLED },
            program::Range { first: 0x8000_0000, rule: policy::UNKNOWN },
        ]);
        Self { program: program::assemble(&ranges) }
    }

    /// Loads the filter into the calling thread, for ever. It must have no new privileges (or CAP_SYS_ADMIN) already.
    /// Allocates nothing, so it may run between fork and exec.
    pub(crate) fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies the program that `filter` and `len` describe, and writes nowhere.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn calls() -> impl Iterator<Item = (u32, Rule)> {
    let allowed = ALLOW.iter().chain(ALLOW_HERE).map(|(_, number)| (*number, ALLOWED));
    let refused = REFUSE.iter().chain(REFUSE_HERE).map(|(_, number)| (*number, REFUSED));
    allowed.chain(refused).chain(RULES.iter().copied()).map(|(number, rule)| (number as u32, rule))
}
