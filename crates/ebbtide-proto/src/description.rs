//! What is known of a sandbox besides its state, as messages: who stands for it, what is to become of it, how it ended.

use std::time::{Duration, SystemTime};

use ebbtide_model::{Holder, Invalid, LeaseId, MainEnd, Ownership, Policy, Receipt, SandboxRecord};

use crate::ebbtide::v1 as own;
use crate::{Shown, files_until, sandbox_message, timestamp};

/// What only the daemon that holds a sandbox knows of it.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What will end it or deal with it, the first to come first.
    pub deadlines: Vec<own::Deadline>,
    /// How much goes on in it.
    pub active: u32,
    /// When it was last used.
    pub last_active_at: Option<SystemTime>,
}

/// All that is known of a sandbox. `mine` is the lease that the caller came with.
pub fn description_message(
    record: SandboxRecord,
    standing: Standing,
    mine: Option<&LeaseId>,
    shown: &Shown,
) -> own::Description {
    own::Description {
        principal: record.principal.to_string(),
        ownership: Some(ownership_message(&record.ownership, mine)),
        policy: Some(policy_message(&record.policy)),
        deadlines: standing.deadlines,
        active: standing.active,
        last_active_at: standing.last_active_at.map(timestamp),
        end: end_message(&record),
        main_end: main_end_message(&record),
        sandbox: Some(sandbox_message(record, shown)),
    }
}

/// A moment at which something ends a sandbox or deals with it, and what happens then.
pub fn deadline_message(kind: &str, at: SystemTime, then: &str) -> own::Deadline {
    own::Deadline { kind: kind.to_owned(), at: Some(timestamp(at)), then: then.to_owned() }
}

/// Who stands for a sandbox.
pub fn ownership_message(ownership: &Ownership, mine: Option<&LeaseId>) -> own::Ownership {
    let (since, until, reason) = match ownership {
        Ownership::Orphaned { why, since, until, .. } => {
            (Some(*since), Some(*until), why.as_str().to_owned())
        }
        Ownership::Kept { why, since, until, .. } => (Some(*since), Some(*until), why.clone()),
        Ownership::Owned { since, .. } => (*since, None, String::new()),
        Ownership::Unowned | Ownership::Detached => (None, None, String::new()),
    };
    own::Ownership {
        kind: kind_message(ownership).into(),
        holder: ownership.holder().map(|holder| holder_message(holder, mine)),
        since: since.map(timestamp),
        until: until.map(timestamp),
        reason,
    }
}

fn kind_message(ownership: &Ownership) -> own::OwnershipKind {
    match ownership {
        Ownership::Unowned => own::OwnershipKind::Unowned,
        Ownership::Detached => own::OwnershipKind::Detached,
        Ownership::Owned { .. } => own::OwnershipKind::Owned,
        Ownership::Orphaned { .. } => own::OwnershipKind::Orphaned,
        Ownership::Kept { .. } => own::OwnershipKind::Kept,
    }
}

/// The name of a kind of ownership by its number, as [`Ownership::kind`] has it; `Ok(None)` where none is named.
///
/// # Errors
/// When there is no such kind.
pub fn ownership_kind(number: i32) -> Result<Option<&'static str>, Invalid> {
    let unknown = || Invalid::new("ownership", format!("{number} is no kind"), "a value of OwnershipKind");
    Ok(match own::OwnershipKind::try_from(number).map_err(|_| unknown())? {
        own::OwnershipKind::Unspecified => None,
        own::OwnershipKind::Unowned => Some("unowned"),
        own::OwnershipKind::Detached => Some("detached"),
        own::OwnershipKind::Owned => Some("owned"),
        own::OwnershipKind::Orphaned => Some("orphaned"),
        own::OwnershipKind::Kept => Some("kept"),
    })
}

fn holder_message(holder: &Holder, mine: Option<&LeaseId>) -> own::Holder {
    own::Holder {
        lease_id: holder.lease.as_ref().map(ToString::to_string).unwrap_or_default(),
        process: holder
            .process
            .map(|process| own::Process { pid: process.pid, start_time: process.start_time }),
        label: holder.label.clone(),
        mine: holder.lease.is_some() && holder.lease.as_ref() == mine,
    }
}

/// What is to become of a sandbox when nobody ends it.
pub fn policy_message(policy: &Policy) -> own::Policy {
    own::Policy {
        detach: policy.detach,
        orphan_grace: Some(duration(policy.orphan_grace)),
        keep: policy.keep.to_string(),
        keep_for: Some(duration(policy.keep_for)),
        keep_as: policy.keep_as.to_string(),
        idle_timeout: policy.idle_timeout.map(duration),
        on_idle: policy.on_idle.to_string(),
    }
}

/// How a sandbox ended, or why it is ending; `None` while nothing ends it.
pub fn end_message(record: &SandboxRecord) -> Option<own::End> {
    let reason = record.reason?;
    Some(own::End {
        reason: reason.to_string(),
        by: record.ended_by.clone().unwrap_or_default(),
        message: record.message.clone(),
        ended_at: record.ended_at.map(timestamp),
        exit_code: record.exit_code,
        receipt: record.receipt.as_ref().map(receipt_message),
    })
}

/// How the main command of a sandbox ended that was kept all the same.
pub(crate) fn main_end_message(record: &SandboxRecord) -> Option<own::MainEnd> {
    let MainEnd { reason, exit_code, at } = record.main_end?;
    Some(own::MainEnd {
        reason: reason.to_string(),
        exit_code,
        at: Some(timestamp(at)),
        files_until: files_until(record).map(timestamp),
    })
}

/// What the end of a sandbox released.
pub fn receipt_message(receipt: &Receipt) -> own::Receipt {
    let released =
        |(kind, count): &(String, u32)| own::receipt::Released { kind: kind.clone(), count: *count };
    let step = |(name, took): &(String, Duration)| own::receipt::Step {
        name: name.clone(),
        took: Some(duration(*took)),
    };
    let left = |left: &ebbtide_model::Leftover| own::receipt::Left {
        kind: left.kind.clone(),
        name: left.name.clone(),
    };
    own::Receipt {
        released: receipt.released.iter().map(released).collect(),
        bytes: receipt.bytes,
        steps: receipt.steps.iter().map(step).collect(),
        took: Some(duration(receipt.took)),
        left: receipt.left.iter().map(left).collect(),
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use ebbtide_model::{Leftover, Limits, OrphanReason, OwnerProcess, TerminationReason};

    use super::*;

    fn orphaned(lease: &LeaseId) -> Ownership {
        let process = Some(OwnerProcess { pid: 7, start_time: 9 });
        Ownership::Orphaned {
            by: Holder { lease: Some(lease.clone()), process, label: "python3".to_owned() },
            adopted: false,
            why: OrphanReason::ProcessEnded,
            since: UNIX_EPOCH + Duration::from_secs(1),
            until: UNIX_EPOCH + Duration::from_secs(61),
        }
    }

    #[test]
    fn an_orphan_says_who_left_it_how_and_until_when_it_can_be_adopted() {
        let lease = LeaseId::generate();
        let message = ownership_message(&orphaned(&lease), Some(&LeaseId::generate()));
        assert_eq!(message.kind(), own::OwnershipKind::Orphaned);
        assert_eq!((message.reason.as_str(), message.until.unwrap().seconds), ("process_ended", 61));
        let holder = message.holder.unwrap();
        assert_eq!((holder.lease_id.as_str(), holder.process.unwrap().pid), (lease.as_str(), 7));
        assert!(!holder.mine);
    }

    #[test]
    fn ones_own_lease_is_told_from_that_of_others() {
        let lease = LeaseId::generate();
        let mine = |mine| ownership_message(&orphaned(&lease), mine).holder.unwrap().mine;
        assert!(mine(Some(&lease)));
        assert!(!mine(None));
        let process = Holder::process(OwnerProcess { pid: 1, start_time: 1 });
        let process = Ownership::made_by(process, UNIX_EPOCH + Duration::from_secs(5));
        let message = ownership_message(&process, None);
        assert!(!message.holder.unwrap().mine);
        assert_eq!((message.since.unwrap().seconds, message.until), (5, None));
    }

    #[test]
    fn every_kind_has_the_name_that_the_model_gives_it_and_no_other_number_has_one() {
        for ownership in [Ownership::Unowned, Ownership::Detached, orphaned(&LeaseId::generate())] {
            let number = kind_message(&ownership).into();
            assert_eq!(ownership_kind(number), Ok(Some(ownership.kind())));
        }
        assert_eq!(ownership_kind(0), Ok(None));
        assert!(ownership_kind(99).is_err());
    }

    #[test]
    fn nothing_of_a_receipt_is_lost() {
        let receipt = Receipt {
            released: vec![("mounts".to_owned(), 3)],
            bytes: 5,
            steps: vec![("unmount".to_owned(), Duration::from_millis(2))],
            took: Duration::from_millis(4),
            left: vec![Leftover { kind: "cgroup".to_owned(), name: "x".to_owned() }],
        };
        let message = receipt_message(&receipt);
        assert_eq!((message.released[0].count, message.bytes, message.left.len()), (3, 5, 1));
        assert_eq!(message.steps[0].took.unwrap().nanos, 2_000_000);
    }

    #[test]
    fn a_policy_without_an_idle_timeout_says_so_by_its_absence() {
        let message = policy_message(&Policy::of_limits(&Limits::default()));
        assert_eq!((message.keep.as_str(), message.idle_timeout), ("never", None));
        assert_eq!(message.orphan_grace.unwrap().seconds, 60);
    }

    #[test]
    fn what_nothing_ends_has_no_end() {
        assert_eq!(end_message(&crate::show::tests::record()), None);
        let reason = Some(TerminationReason::OwnerGone);
        let ending = SandboxRecord { reason, ..crate::show::tests::record() };
        assert_eq!(end_message(&ending).unwrap().reason, "owner_gone");
    }
}
