//! What is known of a sandbox, in the stable shape that `--json` prints (documented in `docs/cli.md`).

mod description;

use ebbtide::SandboxInfo;
use ebbtide::proto::coreweave::sandbox::v1 as wire;
use ebbtide_model::OwnerProcess;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub(crate) use description::{DescriptionView, ReceiptView};

/// A sandbox. Environment values are left out: they may be secrets.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SandboxView {
    /// The id.
    pub(crate) id: String,
    /// The state in lower case, e.g. `running`.
    pub(crate) state: String,
    /// Why it ended, e.g. `main_exited`; `null` while nothing ends it.
    pub(crate) reason: Option<String>,
    /// The exit code of the main command, if known.
    pub(crate) exit_code: Option<i32>,
    /// The image.
    pub(crate) image: String,
    /// The main command; empty for an idle sandbox.
    pub(crate) command: Vec<String>,
    /// The directory that commands start in; `null` for the image's.
    pub(crate) workdir: Option<String>,
    /// The words to find it by.
    pub(crate) tags: Vec<String>,
    /// The process whose death ends it, if it has one.
    pub(crate) owner_pid: Option<u32>,
    /// Cores that it may use; `null` for no bound.
    pub(crate) cpu: Option<String>,
    /// Memory that it may use.
    pub(crate) memory: Option<String>,
    /// How long it may live.
    pub(crate) lifetime_seconds: i32,
    /// When it was asked for.
    pub(crate) created_at: Option<String>,
    /// When it began to run.
    pub(crate) started_at: Option<String>,
    /// When its lifetime is over.
    pub(crate) expires_at: Option<String>,
    /// When its last resource was released.
    pub(crate) ended_at: Option<String>,
    #[serde(skip)]
    created: Option<Timestamp>,
}

impl From<wire::Sandbox> for SandboxView {
    fn from(sandbox: wire::Sandbox) -> Self {
        SandboxInfo::from(sandbox).into()
    }
}

impl From<SandboxInfo> for SandboxView {
    fn from(info: SandboxInfo) -> Self {
        let owner = OwnerProcess::from_annotations(&info.annotations).ok().flatten();
        let time = |at: Option<_>| at.and_then(|at| Timestamp::try_from(at).ok());
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let created = time(info.created_at);
        Self {
            id: info.id,
            state: info.state.to_string(),
            reason: info.reason,
            exit_code: info.exit_code,
            image: info.image,
            command: info.command,
            workdir: info.working_dir,
            tags: info.tags,
            owner_pid: owner.map(|owner| owner.pid),
            cpu: info.limits.cpu,
            memory: info.limits.memory,
            lifetime_seconds: i32::try_from(info.max_lifetime.as_secs()).unwrap_or(i32::MAX),
            created_at: text(created),
            started_at: text(time(info.started_at)),
            expires_at: text(created.and_then(|created| created.checked_add(info.max_lifetime).ok())),
            ended_at: text(time(info.ended_at)),
            created,
        }
    }
}

impl SandboxView {
    /// Whether it has ended.
    pub(crate) fn is_terminal(&self) -> bool {
        self.ended_at.is_some()
    }

    /// How long ago it was asked for, for a person.
    pub(crate) fn age(&self) -> String {
        self.created.map(|created| short(Timestamp::now().duration_since(created))).unwrap_or_default()
    }

    /// How long it may still live, for a person.
    pub(crate) fn remaining(&self) -> String {
        if self.is_terminal() {
            return "-".to_owned();
        }
        let lifetime = SignedDuration::from_secs(self.lifetime_seconds.into());
        self.created
            .map(|created| short(lifetime - Timestamp::now().duration_since(created)))
            .unwrap_or_default()
    }
}

/// A time of the protocol.
pub(crate) fn instant(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// A duration in its two largest units, e.g. `1h 5m`.
pub(crate) fn short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, 0) => format!("{m}m"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, 0, _) => format!("{h}h"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, 0, _, _) => format!("{d}d"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in
            [(-5, "0s"), (59, "59s"), (60, "1m"), (3599, "59m 59s"), (3600, "1h"), (90_000, "1d 1h")]
        {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn an_empty_message_is_shown_without_inventing_anything() {
        let view = SandboxView::from(wire::Sandbox::default());
        let json = serde_json::to_value(&view).unwrap();
        for absent in ["reason", "exit_code", "owner_pid", "created_at", "expires_at", "workdir"] {
            assert!(json[absent].is_null(), "{absent}");
        }
    }

    #[test]
    fn environment_values_are_never_shown() {
        let container = wire::Container {
            command: "env".into(),
            environment_variables: [("TOKEN".to_owned(), "hunter2".to_owned())].into(),
            ..Default::default()
        };
        let spec = wire::SandboxSpec { containers: vec![container], ..Default::default() };
        let view = SandboxView::from(wire::Sandbox { spec: Some(spec), ..Default::default() });
        assert!(!serde_json::to_string(&view).unwrap().contains("hunter2"));
    }
}
