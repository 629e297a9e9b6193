//! What is known of a sandbox.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ebbtide_model::TerminationReason;
use ebbtide_proto::FILES_UNTIL_ANNOTATION;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use prost_types::Timestamp;

use crate::{ResourceAmounts, SandboxState};

/// What the daemon said of a sandbox at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxInfo {
    /// The id.
    pub id: String,
    /// Where it is in its life.
    pub state: SandboxState,
    /// Why it ended or is ending, e.g. `main_exited`, or `create_failed: no such image`.
    pub reason: Option<String>,
    /// The exit code of the main command, once it is known.
    pub exit_code: Option<i32>,
    /// The image.
    pub image: String,
    /// The main command; empty for a sandbox that idles.
    pub command: Vec<String>,
    /// The directory that commands start in; `None` for the image's.
    pub working_dir: Option<String>,
    /// The words to find it by.
    pub tags: Vec<String>,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
    /// What may not be exceeded.
    pub limits: ResourceAmounts,
    /// How long it may live.
    pub max_lifetime: Duration,
    /// The runner that runs it.
    pub runner_id: Option<String>,
    /// When it was asked for.
    pub created_at: Option<SystemTime>,
    /// When it began to run.
    pub started_at: Option<SystemTime>,
    /// When its last resource was released; of one that was kept after its main command's end, when that ended.
    pub ended_at: Option<SystemTime>,
    /// Of one that was kept after its main command's end: until when its files can be read and commands run in it, unless
    /// somebody stops it earlier.
    pub files_until: Option<SystemTime>,
    /// When this was said.
    pub seen_at: SystemTime,
}

impl SandboxInfo {
    /// Whether nothing of it is left: it has ended, and was not kept.
    pub fn is_gone(&self) -> bool {
        self.state.is_terminal() && self.files_until.is_none()
    }

    /// Whether it is made and not ending: it runs, is paused, or was kept after its main command's end.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, SandboxState::Running | SandboxState::Paused) || self.files_until.is_some()
    }

    /// Whether somebody ended it, rather than its main command.
    pub fn was_terminated(&self) -> bool {
        let name = self.reason.as_deref().unwrap_or_default();
        let name = name.split_once(": ").map_or(name, |(name, _)| name);
        let by_itself = [TerminationReason::MainExited, TerminationReason::CreateFailed];
        self.state == SandboxState::Terminated
            || (matches!(self.state, SandboxState::Completed | SandboxState::Terminating)
                && TerminationReason::ALL
                    .into_iter()
                    .any(|reason| reason.as_str() == name && !by_itself.contains(&reason)))
    }
}

impl From<wire::Sandbox> for SandboxInfo {
    fn from(sandbox: wire::Sandbox) -> Self {
        let spec = sandbox.spec.unwrap_or_default();
        let status = sandbox.status.unwrap_or_default();
        let container = spec.containers.into_iter().next().unwrap_or_default();
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        let time = |at: Option<_>| at.and_then(|at| SystemTime::try_from(at).ok());
        let state = SandboxState::from_message(status.state());
        let files_until = spec.annotations.get(FILES_UNTIL_ANNOTATION);
        let files_until = files_until.and_then(|text| text.parse::<Timestamp>().ok());
        let limits = status.effective_resources.unwrap_or_default();
        Self {
            id: sandbox.sandbox_id,
            state,
            reason: filled(status.state_reason),
            exit_code: status.exit_code,
            image: container.image,
            command: filled(container.command).into_iter().chain(container.args).collect(),
            working_dir: filled(container.working_dir),
            tags: spec.tags,
            annotations: spec.annotations.into_iter().collect(),
            limits: ResourceAmounts { cpu: filled(limits.cpu), memory: filled(limits.memory) },
            max_lifetime: Duration::from_secs(
                u64::try_from(status.effective_max_lifetime_seconds).unwrap_or_default(),
            ),
            runner_id: filled(status.runner_id),
            created_at: time(status.create_time),
            started_at: time(status.start_time),
            ended_at: time(status.end_time),
            files_until: time(files_until),
            seen_at: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: wire::State, reason: &str) -> SandboxInfo {
        let mut status = wire::SandboxStatus { state_reason: reason.to_owned(), ..Default::default() };
        status.set_state(state);
        wire::Sandbox { status: Some(status), ..Default::default() }.into()
    }

    #[test]
    fn a_main_command_that_ended_by_itself_was_not_terminated() {
        assert!(!ended(wire::State::Completed, "main_exited").was_terminated());
        assert!(!ended(wire::State::Running, "").was_terminated());
        assert!(!ended(wire::State::Failed, "create_failed: stopped").was_terminated());
        for reason in ["stopped", "lifetime_expired", "owner_gone: process 7"] {
            assert!(ended(wire::State::Completed, reason).was_terminated(), "{reason}");
        }
        assert!(ended(wire::State::Terminated, "").was_terminated());
    }
}
