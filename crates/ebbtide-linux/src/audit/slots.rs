//! Slots: how a walk tells which sandbox an object belongs to.
//!
//! Everything that is made for a sandbox is named by its slot, before anybody has asked for the sandbox. The
//! slot's directory takes the sandbox's id as its name when it is claimed, and says in `slot.json` which slot
//! it was.

use std::collections::BTreeMap;

use super::procfs::{entries, text};
use super::{AuditError, AuditScope, Owner};

/// What a slot's name begins with.
const PREFIX: &str = "slot-";
/// How many characters follow.
const RANDOM: usize = 8;

/// The directories of slots and sandboxes.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Each directory below `s`, and the slot that it says it is.
    pub(super) directories: BTreeMap<String, String>,
    sandbox_of: BTreeMap<String, String>,
}

impl Slots {
    pub(super) fn read(scope: &AuditScope) -> Result<Self, AuditError> {
        let base = scope.run_dir.join("s");
        let mut slots = Self::default();
        for name in entries(&base)? {
            let slot = if is_slot(&name) {
                name.clone()
            } else {
                let said = text(&base.join(&name).join("slot.json")).and_then(|json| slot_in(&json));
                let slot = said.unwrap_or_default();
                slots.sandbox_of.insert(slot.clone(), name.clone());
                slot
            };
            slots.directories.insert(name, slot);
        }
        Ok(slots)
    }

    /// The owner of an object that is named by `slot`.
    pub(super) fn owner(&self, slot: &str) -> Owner {
        match self.sandbox_of.get(slot) {
            Some(sandbox) => Owner::Sandbox { sandbox: sandbox.clone() },
            None => Owner::Slot { slot: slot.to_owned() },
        }
    }

    /// The owner of a directory below `s`, or of what is in it.
    pub(super) fn owner_of_directory(name: &str) -> Owner {
        if is_slot(name) {
            Owner::Slot { slot: name.to_owned() }
        } else {
            Owner::Sandbox { sandbox: name.to_owned() }
        }
    }
}

/// Whether `name` is the name of a slot.
fn is_slot(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == RANDOM && rest.bytes().all(is_random))
}

fn is_random(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

/// The first name of a slot within `text`.
pub(super) fn slot_in(text: &str) -> Option<String> {
    text.match_indices(PREFIX).find_map(|(at, _)| {
        let name = text.get(at..at + PREFIX.len() + RANDOM)?;
        is_slot(name).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_in_whatever_names_it() {
        let slot = Some("slot-abcdef27".to_owned());
        assert_eq!(slot_in("/run/ebbtide/x/s/slot-abcdef27/init.sock"), slot);
        assert_eq!(slot_in("lowerdir=/slot-A,upperdir=/p/slot-abcdef27/upper"), slot);
        assert_eq!(slot_in(r#"{"slot":"slot-abcdef27"}"#), slot);
        for other in ["slot-", "slot-abc", "slot-ABCDEFGH", "slot-äääääääää", "one"] {
            assert_eq!(slot_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_claimed_directory_gives_its_slot_to_its_sandbox() {
        let run_dir = tempfile::tempdir().unwrap();
        let claimed = run_dir.path().join("s/01jd00000000000000000000aa");
        std::fs::create_dir_all(&claimed).unwrap();
        std::fs::create_dir_all(run_dir.path().join("s/slot-bbbbbbbb")).unwrap();
        std::fs::write(claimed.join("slot.json"), r#"{"slot":"slot-aaaaaaaa"}"#).unwrap();
        let scope = AuditScope {
            home_id: "abcdefgh".into(),
            state_dir: "/nowhere".into(),
            run_dir: run_dir.path().to_owned(),
        };
        let slots = Slots::read(&scope).unwrap();
        assert_eq!(
            slots.owner("slot-aaaaaaaa"),
            Owner::Sandbox { sandbox: "01jd00000000000000000000aa".into() }
        );
        assert_eq!(slots.owner("slot-bbbbbbbb"), Owner::Slot { slot: "slot-bbbbbbbb".into() });
    }
}
