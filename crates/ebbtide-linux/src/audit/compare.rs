//! Holds what a walk found against the ledger, both ways.

use std::collections::{BTreeMap, BTreeSet};

use ebbtide_model::{SandboxRecord, State};
use serde::Serialize;

use super::{Found, Kind, Owner, Walk};

/// Something that the ledger says is there and the kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// The sandbox.
    pub sandbox: String,
    /// What of it is missing.
    pub kind: Kind,
}

/// Kernel against ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// What exists and belongs to nothing that lives.
    pub leaks: Vec<Found>,
    /// What should exist and does not.
    pub missing: Vec<Missing>,
    /// What exists and should.
    pub expected: Vec<Found>,
}

impl AuditReport {
    /// Whether kernel and ledger agree.
    pub fn is_clean(&self) -> bool {
        self.leaks.is_empty() && self.missing.is_empty()
    }

    /// This report with only those faults that an earlier one had too.
    ///
    /// What was being made or taken apart during one walk is not a fault; what two walks see is.
    #[must_use]
    pub fn confirmed_by(mut self, earlier: &Self) -> Self {
        self.missing.retain(|missing| earlier.missing.contains(missing));
        self.leaks.retain(|leak| earlier.leaks.iter().any(|before| before.same_as(leak)));
        self
    }
}

/// Compares a walk with the ledger's records, both ways.
pub fn compare(walk: &Walk, records: &[SandboxRecord]) -> AuditReport {
    let states: BTreeMap<&str, State> =
        records.iter().map(|record| (record.id.as_str(), record.state)).collect();
    let lives = |sandbox: &str| states.get(sandbox).is_some_and(|state| !state.is_terminal());
    let home_lives = walk.live.daemon.is_some()
        || !walk.live.launchers.is_empty()
        || walk.found.iter().any(|found| {
            found.kind == Kind::Process
                && matches!(&found.owner, Owner::Sandbox { sandbox } if lives(sandbox))
        });

    let mut report = AuditReport::default();
    for found in &walk.found {
        let expected = match &found.owner {
            // The log of an ended sandbox is kept as long as its record.
            Owner::Sandbox { sandbox } if found.kind == Kind::Log => states.contains_key(sandbox.as_str()),
            Owner::Sandbox { sandbox } => lives(sandbox),
            Owner::Slot { slot } => walk.live.pool.contains(slot),
            Owner::Home => home_lives,
            Owner::Nobody => false,
        };
        if expected { report.expected.push(found.clone()) } else { report.leaks.push(found.clone()) }
    }
    report.missing = missing(walk, records);
    report
}

fn missing(walk: &Walk, records: &[SandboxRecord]) -> Vec<Missing> {
    let there: BTreeSet<(&str, Kind)> = walk
        .found
        .iter()
        .filter_map(|found| match &found.owner {
            Owner::Sandbox { sandbox } => Some((sandbox.as_str(), found.kind)),
            _ => None,
        })
        .collect();
    let mut missing = Vec::new();
    for record in records.iter().filter(|record| record.state.is_alive()) {
        // What ran before the machine was restarted ended with it; the next daemon writes that down.
        if record.boot_id != walk.live.boot_id {
            continue;
        }
        let sandbox = record.id.as_str();
        // It may have ended while no daemon was there to write it down; its directory then tells the next one.
        if walk.live.daemon.is_none() && there.contains(&(sandbox, Kind::Directory)) {
            continue;
        }
        for kind in [Kind::Process, Kind::Cgroup, Kind::Directory] {
            if !there.contains(&(sandbox, kind)) {
                missing.push(Missing { sandbox: sandbox.to_owned(), kind });
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ebbtide_model::{Limits, Ownership, Policy, Principal, SandboxId, SandboxSpec};

    use super::super::LiveView;
    use super::*;

    fn record(state: State) -> SandboxRecord {
        SandboxRecord {
            id: SandboxId::generate(),
            principal: Principal::Uid(0),
            spec: SandboxSpec::new("host"),
            ownership: Ownership::Unowned,
            policy: Policy::of_limits(&Limits::default()),
            state,
            paused: None,
            reason: None,
            message: String::new(),
            exit_code: None,
            main_end: None,
            created_at: SystemTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
            deadline: SystemTime::UNIX_EPOCH,
            made_of: None,
            ended_by: None,
            receipt: None,
            boot_id: "boot".into(),
            request_id: String::new(),
        }
    }

    fn found(kind: Kind, owner: Owner) -> Found {
        Found::new(kind, "x", owner, "")
    }

    fn of(record: &SandboxRecord) -> Owner {
        Owner::Sandbox { sandbox: record.id.to_string() }
    }

    fn whole(record: &SandboxRecord) -> Vec<Found> {
        [Kind::Process, Kind::Cgroup, Kind::Directory].map(|kind| found(kind, of(record))).into()
    }

    fn live(daemon: Option<u32>, pool: &[&str]) -> LiveView {
        let pool = pool.iter().map(|slot| (*slot).to_owned()).collect();
        LiveView { daemon, pool, boot_id: "boot".into(), ..LiveView::default() }
    }

    #[test]
    fn every_kind_leaks_when_its_sandbox_has_ended_or_was_never_known() {
        for kind in Kind::ALL {
            for owner in [
                of(&record(State::Running)),
                Owner::Slot { slot: "slot-aaaaaaaa".into() },
                Owner::Home,
                Owner::Nobody,
            ] {
                let walk = Walk { found: vec![found(kind, owner)], live: live(None, &[]) };
                assert_eq!(compare(&walk, &[]).leaks, walk.found);
            }
            let ended = record(State::Completed);
            let walk = Walk { found: vec![found(kind, of(&ended))], live: live(Some(1), &[]) };
            let leaks = compare(&walk, &[ended]).leaks.len();
            assert_eq!(leaks, usize::from(kind != Kind::Log), "{kind:?}");
        }
    }

    #[test]
    fn what_belongs_to_something_that_lives_is_expected() {
        for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
            let record = record(state);
            let mut all = whole(&record);
            all.push(found(Kind::LoopDevice, Owner::Home));
            all.push(found(Kind::Cgroup, Owner::Slot { slot: "slot-aaaaaaaa".into() }));
            let walk = Walk { found: all, live: live(None, &["slot-aaaaaaaa"]) };
            let report = compare(&walk, &[record]);
            assert!(report.is_clean(), "{report:?}");
            assert_eq!(report.expected.len(), 5);
        }
    }

    #[test]
    fn the_pool_of_a_dead_launcher_leaks() {
        let slot = Owner::Slot { slot: "slot-aaaaaaaa".into() };
        let walk = Walk { found: vec![found(Kind::Directory, slot)], live: live(Some(1), &[]) };
        assert_eq!(compare(&walk, &[]).leaks.len(), 1);
    }

    #[test]
    fn a_running_record_without_its_objects_is_missing() {
        let record = record(State::Running);
        let walk = Walk { found: whole(&record)[1..].to_vec(), live: live(Some(1), &[]) };
        let report = compare(&walk, std::slice::from_ref(&record));
        let process = Missing { sandbox: record.id.to_string(), kind: Kind::Process };
        assert_eq!(report.missing, [process]);
        // With no daemon, its end may just not be written down yet.
        let walk = Walk { live: live(None, &[]), ..walk };
        assert!(compare(&walk, std::slice::from_ref(&record)).missing.is_empty());
        // With its directory gone too, nobody could ever tell how it ended.
        let walk = Walk { found: Vec::new(), live: live(None, &[]) };
        assert_eq!(compare(&walk, std::slice::from_ref(&record)).missing.len(), 3);
        // Of another boot, it ended with the machine.
        let walk = Walk { found: Vec::new(), live: LiveView::default() };
        assert!(compare(&walk, &[record]).missing.is_empty());
    }

    #[test]
    fn only_what_two_walks_see_is_a_fault() {
        let lasting = Found { name: "lasting".into(), ..found(Kind::Cgroup, Owner::Nobody) };
        let passing = Found { name: "passing".into(), ..found(Kind::Cgroup, Owner::Nobody) };
        let report = |leaks: &[&Found]| AuditReport {
            leaks: leaks.iter().map(|leak| (*leak).clone()).collect(),
            ..AuditReport::default()
        };
        let confirmed = report(&[&lasting, &passing]).confirmed_by(&report(&[&lasting]));
        assert_eq!(confirmed.leaks, [lasting]);
    }
}
