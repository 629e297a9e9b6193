//! A process as the owner of its sandboxes.

use std::io;

use ebbtide_model::{OwnerProcess, ProcessStat};

/// The process `pid` as an owner: its id with its start time, so that a later process with the same id is not
/// taken for it.
///
/// ```
/// let us = ebbtide::owner(std::process::id())?;
/// assert!(us.start_time > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When there is no such process.
pub fn owner(pid: u32) -> io::Result<OwnerProcess> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let stat = ProcessStat::parse(&stat).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no field 22"))
    })?;
    Ok(OwnerProcess { pid, start_time: stat.start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_start_time() {
        let first = owner(std::process::id()).unwrap();
        assert_eq!(owner(std::process::id()).unwrap(), first);
        assert!(first.start_time > 0);
    }
}
