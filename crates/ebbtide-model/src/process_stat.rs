//! What the kernel says of a process in one line.

/// What tells one process from a later one with the same id, out of `/proc/PID/stat`.
///
/// ```
/// use ebbtide_model::ProcessStat;
///
/// let line = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
/// let stat = ProcessStat::parse(line).ok_or("not such a line")?;
/// assert_eq!(stat.start_time, 4242);
/// assert!(!stat.has_ended());
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// The third field: one letter for what the process does.
    pub state: char,
    /// Field 22: when it started, in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessStat {
    /// Reads the content of `/proc/PID/stat`; `None` where it is not that.
    pub fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything, so fields are counted after the last one.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let start_time = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self { state, start_time })
    }

    /// Whether the process has ended and only waits for its parent to ask how.
    pub fn has_ended(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let rest = (4..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        for name in ["sh", "a) b", "x (y) 1 2 3", "Z) Z"] {
            let stat = ProcessStat::parse(&format!("7 ({name}) R {rest}"));
            assert_eq!(stat, Some(ProcessStat { state: 'R', start_time: 22 }), "{name}");
        }
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        for line in [
            "",
            "7 sh S 1",
            "1 (x) S 1",
            "1 (x)",
            "1 (x) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 x",
        ] {
            assert_eq!(ProcessStat::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_zombie_has_ended() {
        assert!(ProcessStat { state: 'Z', start_time: 1 }.has_ended());
        assert!(!ProcessStat { state: 'T', start_time: 1 }.has_ended());
    }
}
