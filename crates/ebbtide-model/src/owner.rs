//! The process that a sandbox belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The annotation that carries the owner's process id.
pub const OWNER_PID_ANNOTATION: &str = "ebbtide.dev/owner-pid";
/// The annotation that carries the owner's start time (field 22 of `/proc/PID/stat`, in clock ticks since boot).
pub const OWNER_START_TIME_ANNOTATION: &str = "ebbtide.dev/owner-start-time";

/// A local process that owns a sandbox. The start time tells it from a later process with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnerProcess {
    /// The process id, as the daemon's pid namespace numbers it.
    pub pid: u32,
    /// The start time in clock ticks since boot.
    pub start_time: u64,
}

impl OwnerProcess {
    /// Reads the owner from a spec's annotations; `None` where they name none.
    ///
    /// # Errors
    /// When only one of the two annotations is there, or one is not a number.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, Invalid> {
        let field = |key: &str| format!("annotations[{key}]");
        match (annotations.get(OWNER_PID_ANNOTATION), annotations.get(OWNER_START_TIME_ANNOTATION)) {
            (None, None) => Ok(None),
            (Some(pid), Some(start)) => {
                let pid =
                    pid.parse().ok().filter(|pid| *pid > 0 && *pid <= i32::MAX as u32).ok_or_else(|| {
                        Invalid::new(field(OWNER_PID_ANNOTATION), "is not a process id", "1 to 2147483647")
                    })?;
                let start_time = start.parse().map_err(|_| {
                    Invalid::new(
                        field(OWNER_START_TIME_ANNOTATION),
                        "is not a start time",
                        "field 22 of /proc/PID/stat",
                    )
                })?;
                Ok(Some(Self { pid, start_time }))
            }
            (pid, _) => {
                let missing = if pid.is_some() { OWNER_START_TIME_ANNOTATION } else { OWNER_PID_ANNOTATION };
                Err(Invalid::new(
                    field(missing),
                    "is missing",
                    "pid and start time of the owner, both or neither",
                ))
            }
        }
    }

    /// Writes the owner into a spec's annotations.
    pub fn annotate(&self, annotations: &mut BTreeMap<String, String>) {
        annotations.insert(OWNER_PID_ANNOTATION.to_owned(), self.pid.to_string());
        annotations.insert(OWNER_START_TIME_ANNOTATION.to_owned(), self.start_time.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_carry_the_owner_both_ways() {
        let owner = OwnerProcess { pid: 42, start_time: 99 };
        let mut annotations = BTreeMap::new();
        assert_eq!(OwnerProcess::from_annotations(&annotations), Ok(None));
        owner.annotate(&mut annotations);
        assert_eq!(OwnerProcess::from_annotations(&annotations), Ok(Some(owner)));
    }

    #[test]
    fn half_an_owner_is_refused() {
        for (key, value) in [(OWNER_PID_ANNOTATION, "42"), (OWNER_START_TIME_ANNOTATION, "1")] {
            let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert!(OwnerProcess::from_annotations(&annotations).is_err());
        }
        for pid in ["0", "-1", "x", "4294967295"] {
            let annotations = BTreeMap::from([
                (OWNER_PID_ANNOTATION.to_owned(), pid.to_owned()),
                (OWNER_START_TIME_ANNOTATION.to_owned(), "1".to_owned()),
            ]);
            assert!(OwnerProcess::from_annotations(&annotations).is_err(), "{pid}");
        }
    }
}
