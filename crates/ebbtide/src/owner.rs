//! A process as the owner of its sandboxes.

use std::io;

use ebbtide_model::OwnerProcess;

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
    let start_time = start_time(&stat).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no field 22"))
    })?;
    Ok(OwnerProcess { pid, start_time })
}

/// Field 22. The second field is the name in parentheses and may itself hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let rest = (3..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        for name in ["sh", "a) b", "x (y) 1 2 3"] {
            assert_eq!(start_time(&format!("7 ({name}) {rest}")), Some(22));
        }
        assert_eq!(start_time("7 sh S 1"), None);
    }

    #[test]
    fn a_process_has_one_start_time() {
        let first = owner(std::process::id()).unwrap();
        assert_eq!(owner(std::process::id()).unwrap(), first);
        assert!(first.start_time > 0);
    }
}
