//! Whether the process that owns a sandbox is alive, asked only before a create is resumed after a crash: from the
//! moment that the sandbox exists its own init holds the owner's pidfd and decides.

use ebbtide_model::OwnerProcess;

/// Whether the owner is gone for sure. Where the answer cannot be read, it is not: unknown is not dead.
pub(crate) fn is_gone(owner: OwnerProcess) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", owner.pid)) {
        Ok(stat) => is_another(&stat, owner).unwrap_or(false),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Whether `stat` is of a dead process or of a later one with the same id; `None` where it cannot be read.
fn is_another(stat: &str, owner: OwnerProcess) -> Option<bool> {
    // The name, in parentheses, may hold anything, so fields are counted after the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time: u64 = fields.nth(18)?.parse().ok()?;
    Some(matches!(state, "Z" | "X") || start_time != owner.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> OwnerProcess {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let start_time = fields.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
        OwnerProcess { pid: std::process::id(), start_time }
    }

    #[test]
    fn a_living_owner_is_not_gone() {
        assert!(!is_gone(me()));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_owner() {
        assert!(is_gone(OwnerProcess { start_time: me().start_time + 1, ..me() }));
        assert!(is_gone(OwnerProcess { pid: i32::MAX as u32, start_time: 1 }));
    }

    #[test]
    fn what_cannot_be_read_is_not_dead() {
        assert_eq!(is_another("1 (x) S 1", me()), None);
        assert_eq!(is_another("", me()), None);
    }
}
