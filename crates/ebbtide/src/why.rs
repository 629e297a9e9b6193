//! What is known of a sandbox, in plain words.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ebbtide_model::{Keep, KeepAs, OnIdle, TerminationReason};

use crate::{Deadline, DeadlineKind, Description, Ownership, OwnershipKind, SandboxState};

/// Who owns a sandbox, what keeps it alive, when and why it will end or has, in plain words: a sentence a line.
///
/// ```no_run
/// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
/// println!("{}", ebbtide::why(&sandbox.describe().await?));
/// # Ok(())
/// # }
/// ```
pub fn why(description: &Description) -> String {
    why_at(description, SystemTime::now())
}

/// As [`why`], as seen at this time.
pub fn why_at(description: &Description, now: SystemTime) -> String {
    let mut said = vec![first(description)];
    if description.sandbox.is_gone() {
        said.extend(receipt(description));
        return said.join("\n");
    }
    if description.end.is_none() {
        said.push(owner(&description.ownership, now));
        said.extend(prospects(description));
        said.extend(activity(description, now));
    }
    said.extend(description.deadlines.iter().map(|deadline| ending(deadline, description, now)));
    said.join("\n")
}

/// What it is, and how it came to its end if it did.
fn first(description: &Description) -> String {
    let (sandbox, end) = (&description.sandbox, &description.end);
    let id = &sandbox.id;
    let Some(end) = end else {
        if let Some(main) = &description.main_end {
            let at = main.at.map(|at| format!(" at {}", moment(at))).unwrap_or_default();
            let words = cause(&main.reason);
            return format!(
                "Sandbox {id} has completed{at}: {words}; its exit code is {}. Its files are kept: ebb exec {id} -- sh",
                main.exit_code
            );
        }
        return match sandbox.state {
            SandboxState::Paused => {
                format!("Sandbox {id} is paused: nothing runs in it until it is resumed.")
            }
            state if state.is_terminal() => format!("Sandbox {id} has ended ({state})."),
            state => format!("Sandbox {id} is {state}."),
        };
    };
    let mut said = match (end.ended_at, sandbox.state.is_terminal()) {
        (Some(at), _) => format!("Sandbox {id} ended at {}", moment(at)),
        (None, true) => format!("Sandbox {id} has ended"),
        (None, false) => format!("Sandbox {id} is ending"),
    };
    let _ = write!(said, ": {}", cause(&end.reason));
    if !end.by.is_empty() {
        let _ = write!(said, ", as {} asked for", end.by);
    }
    if !end.message.is_empty() {
        let _ = write!(said, " ({})", end.message);
    }
    if let Some(code) = end.exit_code {
        let _ = write!(said, "; its main command's exit code is {code}");
    }
    said + "."
}

/// Why a sandbox ended, as the second half of a sentence.
fn cause(reason: &str) -> String {
    let known = TerminationReason::ALL.into_iter().find(|known| known.as_str() == reason);
    let words = match known {
        Some(TerminationReason::MainExited) => "its main command ended",
        Some(TerminationReason::Stopped) => "it was stopped",
        Some(TerminationReason::SessionClosed) => "its session was closed",
        Some(TerminationReason::Purged) => "it was purged",
        Some(TerminationReason::LifetimeExpired) => "its lifetime was over",
        Some(TerminationReason::OwnerGone) => "its owner was gone and nobody adopted it",
        Some(TerminationReason::Idle) => "it had been idle for as long as it may be",
        Some(TerminationReason::KeepExpired) => "it had been kept for as long as was asked for",
        Some(TerminationReason::DaemonGone) => "no daemon that could hear of its owner had run for too long",
        Some(TerminationReason::OutOfMemory) => "it ran out of memory",
        Some(TerminationReason::InitKilled) => "its init was killed from outside",
        Some(TerminationReason::CreateFailed) => "it could not be made",
        Some(TerminationReason::HostRestarted) => "its machine was started anew",
        Some(TerminationReason::Reconciled) => "it was found without what belongs to it",
        Some(TerminationReason::Shutdown) => "Ebbtide was shut down",
        None => return format!("{reason:?}"),
    };
    words.to_owned()
}

fn owner(ownership: &Ownership, now: SystemTime) -> String {
    let holder = ownership.holder.as_ref().map(ToString::to_string);
    let holder = holder.as_deref().unwrap_or("somebody");
    let since = ownership.since.map(|since| length(since, now));
    let ago = since.as_ref().map(|since| format!(", {since} ago")).unwrap_or_default();
    let so_far = since.map(|since| format!(", for {since} now")).unwrap_or_default();
    let reason = ownership.reason.as_deref().unwrap_or_default();
    match ownership.kind {
        OwnershipKind::Owned if ownership.holder.as_ref().is_some_and(|holder| holder.mine) => {
            format!("You own it ({holder}){so_far}.")
        }
        OwnershipKind::Owned => format!("It is owned by {holder}{so_far}."),
        OwnershipKind::Unowned => "Nobody owns it.".to_owned(),
        OwnershipKind::Detached => "Nobody owns it, as was asked for: it is detached.".to_owned(),
        OwnershipKind::Orphaned => {
            let gone = match reason {
                "process_ended" => "has ended",
                "connection_lost" => "has lost its connection",
                "released" => "has let it go",
                _ => "is gone",
            };
            format!("It is an orphan: its owner, {holder}, {gone}{ago}.")
        }
        OwnershipKind::Kept => format!("It is kept{ago}: {reason}."),
        OwnershipKind::Unknown => "Who owns it is not known to this version.".to_owned(),
    }
}

/// What would become of it without its owner, or with another.
fn prospects(description: &Description) -> Option<String> {
    let (id, policy) = (&description.sandbox.id, &description.policy);
    let kept = match policy.keep {
        Keep::Always | Keep::OnFailure => format!("is then kept {}", kept_as(policy.keep_as)),
        Keep::Never | Keep::Attached => "then ends".to_owned(),
    };
    let lasts = spell(policy.orphan_grace);
    match description.ownership.kind {
        OwnershipKind::Owned => Some(format!(
            "When its owner is gone it is an orphan that can be adopted for {lasts}, and {kept}."
        )),
        OwnershipKind::Orphaned | OwnershipKind::Kept => {
            Some(format!("Whoever adopts it keeps it alive: ebb adopt {id}"))
        }
        _ => None,
    }
}

fn kept_as(kept: KeepAs) -> &'static str {
    match kept {
        KeepAs::Running => "running",
        KeepAs::Paused => "paused",
        KeepAs::Files => "with its files alone",
    }
}

fn activity(description: &Description, now: SystemTime) -> Option<String> {
    let idle = description.policy.idle_timeout?;
    let then = match description.policy.on_idle {
        OnIdle::Stop => "ends",
        OnIdle::Pause => "is paused",
    };
    let idle = spell(idle);
    Some(match (description.active, description.last_active_at) {
        (0, Some(last)) => {
            format!("It was last used {} ago; after {idle} without use it {then}.", length(last, now))
        }
        (0, None) => format!("Nothing uses it; after {idle} of that it {then}."),
        (1, _) => format!("Something is done in it; after {idle} without use it {then}."),
        (active, _) => format!("{active} things are done in it; after {idle} without use it {then}."),
    })
}

fn ending(deadline: &Deadline, description: &Description, now: SystemTime) -> String {
    let then = match deadline.then.as_str() {
        "stop" => "ends",
        "pause" => "is paused",
        "keep" => "is kept",
        "kill" => "is killed",
        _ => "is dealt with",
    };
    let why = match deadline.kind {
        DeadlineKind::Lifetime => "its lifetime is over".to_owned(),
        DeadlineKind::OrphanGrace => "nobody has adopted it by then".to_owned(),
        DeadlineKind::Keep => "the time for which it is kept is over".to_owned(),
        DeadlineKind::Idle => "nobody has used it by then".to_owned(),
        DeadlineKind::StopGrace => "its commands have not ended by then".to_owned(),
        DeadlineKind::Unknown => "for a reason that this version does not know".to_owned(),
    };
    let only = deadline.kind == DeadlineKind::Lifetime
        && matches!(description.ownership.kind, OwnershipKind::Unowned | OwnershipKind::Detached)
        && description.deadlines.len() == 1;
    let latest = if deadline.kind == DeadlineKind::Lifetime && !only { ", at the latest" } else { "" };
    let at = moment(deadline.at);
    match deadline.at.duration_since(now) {
        Ok(left) => format!("It {then} in {} (at {at}){latest}, when {why}.", spell(left)),
        Err(_) => format!("It {then} now (since {at}): {why}."),
    }
}

/// What its end released.
fn receipt(description: &Description) -> Option<String> {
    let receipt = description.end.as_ref()?.receipt.as_ref()?;
    let took = receipt.took.as_millis();
    Some(match receipt.left.len() {
        0 => format!("Everything that it held was released within {took} ms; nothing is left."),
        1 => format!("One thing that it held could not be released: ebb receipt {}", description.sandbox.id),
        left => format!(
            "{left} things that it held could not be released: ebb receipt {}",
            description.sandbox.id
        ),
    })
}

/// A time as a person and a program can read it, in whole seconds.
fn moment(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    prost_types::Timestamp { seconds, nanos: 0 }.to_string()
}

fn length(since: SystemTime, now: SystemTime) -> String {
    spell(now.duration_since(since).unwrap_or_default())
}

/// A duration in its two largest units, e.g. `1h 5m`.
fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let from = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units.iter().skip(from).take(2).enumerate();
    let words = shown.filter(|(place, (count, _))| *place == 0 || *count > 0);
    words.map(|(_, (count, unit))| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use ebbtide_model::{Leftover, Limits, OwnerProcess, Policy, Receipt};
    use ebbtide_proto::coreweave::sandbox::v1 as wire;

    use super::*;
    use crate::{End, Holder, MainEnd};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn at(kind: DeadlineKind, seconds: u64, then: &str) -> Deadline {
        Deadline { kind, at: now() + Duration::from_secs(seconds), then: then.to_owned() }
    }

    fn described(state: wire::State, kind: OwnershipKind) -> Description {
        let mut status = wire::SandboxStatus::default();
        status.set_state(state);
        let sandbox = wire::Sandbox { sandbox_id: "01k".into(), status: Some(status), ..Default::default() };
        let process = Some(OwnerProcess { pid: 7, start_time: 1 });
        let holder = Holder { process, label: "python3 at here".into(), ..Holder::default() };
        let ownership = Ownership { kind, holder: Some(holder), since: None, until: None, reason: None };
        Description {
            sandbox: sandbox.into(),
            principal: "uid:0".into(),
            ownership,
            policy: Policy::of_limits(&Limits::default()),
            deadlines: vec![at(DeadlineKind::Lifetime, 3900, "stop")],
            active: 0,
            last_active_at: None,
            end: None,
            main_end: None,
        }
    }

    #[test]
    fn of_one_that_is_owned_it_is_said_what_becomes_of_it_without_its_owner() {
        let owned = described(wire::State::Running, OwnershipKind::Owned);
        assert_eq!(
            why_at(&owned, now()),
            "Sandbox 01k is running.\n\
             It is owned by process 7 (python3 at here).\n\
             When its owner is gone it is an orphan that can be adopted for 1m, and then ends.\n\
             It ends in 1h 5m (at 2027-01-15T09:05:00Z), at the latest, when its lifetime is over."
        );
        let mut mine = owned;
        mine.ownership.since = Some(now() - Duration::from_secs(75));
        mine.ownership.holder.as_mut().unwrap().mine = true;
        mine.policy.keep = Keep::OnFailure;
        let said = why_at(&mine, now());
        assert!(said.contains("You own it (process 7 (python3 at here)), for 1m 15s now."), "{said}");
        assert!(said.contains("for 1m, and is then kept paused."), "{said}");
    }

    #[test]
    fn of_an_orphan_it_is_said_how_its_owner_went_and_how_long_there_is_time() {
        let mut orphan = described(wire::State::Paused, OwnershipKind::Orphaned);
        orphan.ownership.since = Some(now() - Duration::from_secs(12));
        orphan.ownership.reason = Some("process_ended".into());
        orphan.deadlines.insert(0, at(DeadlineKind::OrphanGrace, 48, "stop"));
        assert_eq!(
            why_at(&orphan, now()),
            "Sandbox 01k is paused: nothing runs in it until it is resumed.\n\
             It is an orphan: its owner, process 7 (python3 at here), has ended, 12s ago.\n\
             Whoever adopts it keeps it alive: ebb adopt 01k\n\
             It ends in 48s (at 2027-01-15T08:00:48Z), when nobody has adopted it by then.\n\
             It ends in 1h 5m (at 2027-01-15T09:05:00Z), at the latest, when its lifetime is over."
        );
    }

    #[test]
    fn of_one_without_an_owner_its_lifetime_is_said_and_its_use() {
        let mut unowned = described(wire::State::Running, OwnershipKind::Unowned);
        assert_eq!(
            why_at(&unowned, now()),
            "Sandbox 01k is running.\n\
             Nobody owns it.\n\
             It ends in 1h 5m (at 2027-01-15T09:05:00Z), when its lifetime is over."
        );
        unowned.policy.idle_timeout = Some(Duration::from_secs(300));
        unowned.policy.on_idle = OnIdle::Pause;
        unowned.last_active_at = Some(now() - Duration::from_secs(60));
        unowned.deadlines.insert(0, at(DeadlineKind::Idle, 240, "pause"));
        let said = why_at(&unowned, now());
        assert!(said.contains("It was last used 1m ago; after 5m without use it is paused."), "{said}");
        assert!(
            said.contains("It is paused in 4m (at 2027-01-15T08:04:00Z), when nobody has used it by then.")
        );
        unowned.active = 1;
        let said = why_at(&unowned, now());
        assert!(said.contains("Something is done in it; after 5m without use"), "{said}");
    }

    #[test]
    fn of_a_kept_one_it_is_said_why() {
        let mut kept = described(wire::State::Paused, OwnershipKind::Kept);
        kept.ownership.reason = Some("its main command ended with 3".into());
        kept.deadlines = vec![at(DeadlineKind::Keep, 90, "stop")];
        let said = why_at(&kept, now());
        assert!(said.contains("\nIt is kept: its main command ended with 3.\n"), "{said}");
        assert!(said.ends_with("when the time for which it is kept is over."), "{said}");
    }

    #[test]
    fn of_one_that_was_kept_after_its_main_command_it_is_said_how_to_look_at_it() {
        let mut kept = described(wire::State::Completed, OwnershipKind::Kept);
        let (reason, files_until) = ("main_exited".to_owned(), Some(now() + Duration::from_secs(90)));
        kept.main_end = Some(MainEnd { reason, exit_code: 3, at: Some(now()), files_until });
        kept.sandbox.files_until = files_until;
        kept.ownership.reason = Some("its main command failed with 3 (keep = on_failure)".into());
        kept.deadlines = vec![at(DeadlineKind::Keep, 90, "stop")];
        assert_eq!(
            why_at(&kept, now()),
            "Sandbox 01k has completed at 2027-01-15T08:00:00Z: its main command ended; its exit code is 3. Its files \
             are kept: ebb exec 01k -- sh\n\
             It is kept: its main command failed with 3 (keep = on_failure).\n\
             Whoever adopts it keeps it alive: ebb adopt 01k\n\
             It ends in 1m 30s (at 2027-01-15T08:01:30Z), when the time for which it is kept is over."
        );
    }

    #[test]
    fn of_one_that_has_ended_it_is_said_who_ended_it_and_what_is_left() {
        let mut ended = described(wire::State::Completed, OwnershipKind::Owned);
        ended.deadlines.clear();
        let mut end = End {
            reason: "stopped".into(),
            by: "uid:0".into(),
            ended_at: Some(now()),
            exit_code: Some(143),
            receipt: Some(Receipt { took: Duration::from_millis(9), ..Receipt::default() }),
            ..End::default()
        };
        ended.end = Some(end.clone());
        assert_eq!(
            why_at(&ended, now()),
            "Sandbox 01k ended at 2027-01-15T08:00:00Z: it was stopped, as uid:0 asked for; its main command's exit \
             code is 143.\nEverything that it held was released within 9 ms; nothing is left."
        );
        let left = vec![Leftover { kind: "cgroup".into(), name: "/sys/fs/cgroup/x".into() }];
        end.receipt = Some(Receipt { left, ..Receipt::default() });
        ended.end = Some(end);
        assert!(
            why_at(&ended, now()).ends_with("One thing that it held could not be released: ebb receipt 01k")
        );
    }

    #[test]
    fn every_reason_has_words() {
        for reason in TerminationReason::ALL {
            assert!(!cause(reason.as_str()).contains('"'), "{reason}");
        }
        assert_eq!(cause("moonrise"), "\"moonrise\"");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m 59s"), (3600, "1h"), (90_000, "1d 1h")]
        {
            assert_eq!(spell(Duration::from_secs(seconds)), text);
        }
    }
}
