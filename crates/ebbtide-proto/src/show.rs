//! A record of the ledger as the message that clients read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_model::{
    EffectiveResources, Invalid, Ownership, PullCredentials, SandboxRecord, SandboxSpec, State,
    TerminationReason,
};
use prost_types::Timestamp;

use crate::coreweave::sandbox::v1 as wire;
use crate::resources;

/// The id of the one runner that a daemon on one machine is.
pub const RUNNER_ID: &str = "local";

/// The annotation of a shown sandbox whose owner is gone: `orphaned` or `kept`.
pub const OWNERSHIP_ANNOTATION: &str = "ebbtide.dev/ownership";
/// The annotation of a shown sandbox that says who its owner was, where its owner is gone.
pub const OWNER_ANNOTATION: &str = "ebbtide.dev/owner";
/// The annotation of a shown sandbox that says until when it can be adopted (RFC 3339), where its owner is gone.
pub const ADOPTABLE_UNTIL_ANNOTATION: &str = "ebbtide.dev/adoptable-until";

/// The annotation of a shown sandbox that was kept after its main command's end: until when its files can be read (RFC
/// 3339), unless somebody stops it earlier.
pub const FILES_UNTIL_ANNOTATION: &str = "ebbtide.dev/files-until";

/// What the daemon adds to a record when it shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The bounds of a sandbox that asked for none.
    pub default_resources: EffectiveResources,
}

/// The message for `record`.
pub fn sandbox_message(record: SandboxRecord, shown: &Shown) -> wire::Sandbox {
    let state = shown_state(&record);
    let container = wire::ContainerStatus {
        name: record.spec.container_name.clone(),
        state: state.into(),
        exit_code: record.exit_code.unwrap_or_default(),
        restart_count: 0,
    };
    let effective = resources::effective(&record.spec.resources, shown.default_resources);
    let lifetime = record
        .spec
        .max_lifetime
        .or_else(|| record.deadline.duration_since(record.created_at).ok())
        .unwrap_or_default();
    let status = wire::SandboxStatus {
        state: state.into(),
        state_reason: state_reason(&record),
        create_time: Some(timestamp(record.created_at)),
        start_time: record.started_at.map(timestamp),
        // The same before and after what was kept of it is gone: a state that is an end does not change any more.
        end_time: record.main_end.map(|end| end.at).or(record.ended_at).map(timestamp),
        exit_code: record.exit_code,
        effective_resources: effective.limits.clone(),
        effective_resource_requirements: Some(effective),
        effective_max_lifetime_seconds: seconds(lifetime),
        container_statuses: vec![container],
        runner_id: RUNNER_ID.to_owned(),
        effective_dns_egress: wire::DnsEgressMode::Deny.into(),
        ..Default::default()
    };
    let until = files_until(&record);
    let mut spec = record.spec;
    spec.annotations.extend(ownership_annotations(&record.ownership));
    spec.annotations
        .extend(until.map(|until| (FILES_UNTIL_ANNOTATION.to_owned(), timestamp(until).to_string())));
    wire::Sandbox {
        sandbox_id: record.id.to_string(),
        spec: Some(spec_message(spec)),
        status: Some(status),
        ..Default::default()
    }
}

/// What any client of the protocol is told of a sandbox that has lost its owner: the protocol has no field for it.
fn ownership_annotations(ownership: &Ownership) -> Vec<(String, String)> {
    let (Ownership::Orphaned { until, .. } | Ownership::Kept { until, .. }) = ownership else {
        return Vec::new();
    };
    let owner = ownership.holder().map(|holder| (OWNER_ANNOTATION.to_owned(), holder.to_string()));
    [
        (OWNERSHIP_ANNOTATION.to_owned(), ownership.kind().to_owned()),
        (ADOPTABLE_UNTIL_ANNOTATION.to_owned(), timestamp(*until).to_string()),
    ]
    .into_iter()
    .chain(owner)
    .collect()
}

/// Until when the files can be read of one that was kept after its main command's end; `None` of any other, and of one that
/// is ending.
pub fn files_until(record: &SandboxRecord) -> Option<SystemTime> {
    if record.main_end.is_none() || !record.state.is_alive() {
        return None;
    }
    match &record.ownership {
        Ownership::Kept { until, .. } => Some(*until),
        _ => Some(record.deadline),
    }
}

fn spec_message(spec: SandboxSpec) -> wire::SandboxSpec {
    let mut argv = spec.main.argv.into_iter();
    // Where they are, which is no secret; what they are has never come this far.
    let pull_credentials = spec.pull_credentials.map(|credentials| {
        let PullCredentials { registry, store: store_name, path, field } = credentials;
        let credentials = Some(wire::SecretSource { store_name, path, field });
        wire::ImagePullCredentials { registry, credentials }
    });
    let container = wire::Container {
        name: spec.container_name,
        image: spec.image,
        command: argv.next().unwrap_or_default(),
        args: argv.chain(spec.args).collect(),
        image_pull_credentials: pull_credentials,
        environment_variables: spec.main.env.into_iter().collect(),
        resource_requirements: resources::echo(&spec.resources),
        working_dir: spec.main.working_dir.unwrap_or_default(),
        // Where they are, not what they hold: that may be large, or secret.
        files: spec
            .mounted_files
            .into_iter()
            .map(|file| wire::FileMount { path: file.path, ..Default::default() })
            .collect(),
        ..Default::default()
    };
    wire::SandboxSpec {
        containers: vec![container],
        max_lifetime_seconds: spec.max_lifetime.map(seconds).unwrap_or_default(),
        tags: spec.tags,
        annotations: spec.annotations.into_iter().collect(),
        ..Default::default()
    }
}

/// The reason's stable name, and after `: ` the words for a person if there are any.
fn state_reason(record: &SandboxRecord) -> String {
    let reason = record.reason.or(record.main_end.map(|end| end.reason));
    let kept = record.main_end.is_some() && record.ownership.is_kept() && record.reason.is_none();
    let message = if kept { record.ownership.to_string() } else { record.message.clone() };
    match (reason, message.as_str()) {
        (Some(reason), "") => reason.to_string(),
        (Some(reason), message) => format!("{reason}: {message}"),
        (None, message) => message.to_owned(),
    }
}

/// What clients are told of a record's state. One that could not be made counts as being made until what was made of
/// it is gone: a client that waits for it takes TERMINATING for a success that somebody has ended since.
fn shown_state(record: &SandboxRecord) -> wire::State {
    match (record.state, record.reason) {
        (State::Terminating, Some(TerminationReason::CreateFailed)) => wire::State::Creating,
        _ => state_message(record.shown_state()),
    }
}

fn state_message(state: State) -> wire::State {
    match state {
        State::Pending => wire::State::Pending,
        State::Creating => wire::State::Creating,
        State::Running => wire::State::Running,
        State::Paused => wire::State::Paused,
        State::Terminating => wire::State::Terminating,
        State::Completed => wire::State::Completed,
        State::Failed => wire::State::Failed,
    }
}

/// The state that the wire's number stands for; `Ok(None)` for a state that the protocol has and Ebbtide never
/// shows (TERMINATED, PREPARING).
///
/// # Errors
/// When there is no such state.
pub fn state_from_message(number: i32) -> Result<Option<State>, Invalid> {
    let named = wire::State::try_from(number).ok().filter(|state| *state != wire::State::Unspecified);
    let named =
        named.ok_or_else(|| Invalid::new("state", format!("{number} is not a state"), "a value of State"))?;
    Ok(State::ALL.into_iter().find(|state| state_message(*state) == named))
}

/// A time as the protocol writes it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from((duration + Duration::from_millis(500)).as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use ebbtide_model::{Holder, Limits, MainEnd, Policy, Principal, SandboxId};

    use super::*;

    pub(crate) fn record() -> SandboxRecord {
        SandboxRecord {
            id: SandboxId::generate(),
            principal: Principal::Uid(0),
            spec: SandboxSpec::new("host"),
            ownership: Ownership::Unowned,
            policy: Policy::of_limits(&Limits::default()),
            state: State::Running,
            paused: None,
            reason: None,
            message: String::new(),
            exit_code: None,
            main_end: None,
            created_at: UNIX_EPOCH + Duration::from_secs(100),
            started_at: None,
            ended_at: None,
            deadline: UNIX_EPOCH + Duration::from_secs(3700),
            boot_id: String::new(),
            made_of: None,
            ended_by: None,
            receipt: None,
            request_id: String::new(),
        }
    }

    const SHOWN: Shown = Shown {
        default_resources: EffectiveResources {
            cpu_milli: None,
            memory_bytes: 2 << 30,
            disk_bytes: 1,
            pids: 1,
        },
    };

    #[test]
    fn a_state_is_always_shown() {
        for state in State::ALL {
            let status = sandbox_message(SandboxRecord { state, ..record() }, &SHOWN).status.unwrap();
            assert_ne!(status.state(), wire::State::Unspecified);
            assert_eq!(state_from_message(status.state), Ok(Some(state)));
        }
    }

    #[test]
    fn a_sandbox_that_could_not_be_made_is_being_made_until_it_has_failed() {
        let shown = |state| {
            let reason = Some(TerminationReason::CreateFailed);
            sandbox_message(SandboxRecord { state, reason, ..record() }, &SHOWN).status.unwrap().state()
        };
        assert_eq!(shown(State::Terminating), wire::State::Creating);
        assert_eq!(shown(State::Failed), wire::State::Failed);
    }

    #[test]
    fn states_that_are_never_shown_can_be_asked_for_and_unknown_ones_cannot() {
        assert_eq!(state_from_message(wire::State::Terminated.into()), Ok(None));
        for unknown in [0, -1, 99] {
            assert!(state_from_message(unknown).is_err());
        }
    }

    #[test]
    fn an_exit_code_of_zero_is_shown_and_an_unknown_one_is_absent() {
        let code = |exit_code| {
            sandbox_message(SandboxRecord { exit_code, ..record() }, &SHOWN).status.unwrap().exit_code
        };
        assert_eq!((code(Some(0)), code(None)), (Some(0), None));
    }

    #[test]
    fn the_reason_leads_the_words_for_a_person() {
        let shown = |message: &str| {
            let reason = Some(TerminationReason::CreateFailed);
            let record = SandboxRecord { reason, message: message.into(), ..record() };
            sandbox_message(record, &SHOWN).status.unwrap().state_reason
        };
        assert_eq!(shown(""), "create_failed");
        assert_eq!(shown("no room"), "create_failed: no room");
    }

    #[test]
    fn a_sandbox_without_its_owner_says_so_to_any_client() {
        let shown = |ownership| {
            let message = sandbox_message(SandboxRecord { ownership, ..record() }, &SHOWN);
            message.spec.unwrap().annotations
        };
        assert!(shown(Ownership::Unowned).is_empty());
        let kept = Ownership::Kept {
            by: Some(Holder { lease: None, process: None, label: "python3 at a".to_owned() }),
            why: "keep is always".to_owned(),
            since: UNIX_EPOCH,
            until: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let annotations = shown(kept);
        assert_eq!(annotations[OWNERSHIP_ANNOTATION], "kept");
        assert_eq!(annotations[OWNER_ANNOTATION], "python3 at a");
        assert_eq!(annotations[ADOPTABLE_UNTIL_ANNOTATION], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn the_effective_lifetime_is_what_was_asked_for_or_what_the_deadline_says() {
        let shown = |max_lifetime| {
            let spec = SandboxSpec { max_lifetime, ..SandboxSpec::new("host") };
            let status = sandbox_message(SandboxRecord { spec, ..record() }, &SHOWN).status.unwrap();
            status.effective_max_lifetime_seconds
        };
        assert_eq!(shown(None), 3600);
        assert_eq!(shown(Some(Duration::from_secs(7))), 7);
    }

    #[test]
    fn one_that_was_kept_after_its_main_commands_end_has_completed_and_stays_so() {
        let at = UNIX_EPOCH + Duration::from_secs(200);
        let until = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut kept = record();
        kept.main_end = Some(MainEnd { reason: TerminationReason::MainExited, exit_code: 3, at });
        kept.exit_code = Some(3);
        let why = "its main command failed with 3".to_owned();
        kept.ownership = Ownership::Kept { by: None, why, since: at, until };
        let ended_at = Some(at + Duration::from_secs(60));
        let (ending, ended) = (State::Terminating, State::Completed);
        let reason = Some(TerminationReason::MainExited);
        for (record, files) in [
            (kept.clone(), Some("2023-11-14T22:13:20Z")),
            (SandboxRecord { state: ending, reason, ..kept.clone() }, None),
            (SandboxRecord { state: ended, reason, ended_at, ..kept }, None),
        ] {
            let shown = sandbox_message(record, &SHOWN);
            let status = shown.status.unwrap();
            assert_eq!((status.state(), status.exit_code), (wire::State::Completed, Some(3)));
            assert_eq!(status.end_time.unwrap().seconds, 200);
            assert!(status.state_reason.starts_with("main_exited"), "{}", status.state_reason);
            let annotations = shown.spec.unwrap().annotations;
            assert_eq!(annotations.get(FILES_UNTIL_ANNOTATION).map(String::as_str), files);
        }
    }
}
