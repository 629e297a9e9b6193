//! All that is known of a sandbox, in the stable shape that `--json` prints.

use ebbtide::{Deadline, Description, End, Holder, MainEnd, Ownership, Policy, Receipt};
use jiff::Timestamp;
use serde::Serialize;

use super::{SandboxView, short};

/// All that is known of a sandbox.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DescriptionView {
    #[serde(flatten)]
    pub(crate) sandbox: SandboxView,
    /// Whose it is, e.g. `uid:0`.
    principal: String,
    pub(crate) ownership: OwnershipView,
    policy: PolicyView,
    /// What will end it, or deal with it, the first to come first.
    deadlines: Vec<DeadlineView>,
    /// How many commands run in it by exec, and files are copied.
    active: u32,
    last_active_at: Option<String>,
    /// How it ended, or why it is ending.
    end: Option<EndView>,
    /// How its main command ended, where the sandbox was kept all the same.
    main_end: Option<MainEndView>,
    #[serde(skip)]
    files_until: Option<Timestamp>,
}

/// Who stands for a sandbox.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OwnershipView {
    /// `unowned`, `detached`, `owned`, `orphaned` or `kept`.
    pub(crate) kind: &'static str,
    /// Who does, or did last.
    holder: Option<HolderView>,
    /// Of one that is owned, orphaned or kept: since when.
    since: Option<String>,
    /// Of one that is orphaned or kept: until when it can be adopted.
    until: Option<String>,
    /// How its owner went, or why it is kept.
    reason: Option<String>,
    /// Who it is, for a person.
    #[serde(skip)]
    named: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct HolderView {
    lease_id: Option<String>,
    pid: Option<u32>,
    label: String,
}

#[derive(Debug, Clone, Serialize)]
struct PolicyView {
    detach: bool,
    orphan_grace_seconds: u64,
    keep: &'static str,
    keep_for_seconds: u64,
    keep_as: &'static str,
    idle_timeout_seconds: Option<u64>,
    on_idle: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct DeadlineView {
    kind: &'static str,
    at: Option<String>,
    then: String,
}

#[derive(Debug, Clone, Serialize)]
struct EndView {
    reason: String,
    by: Option<String>,
    message: Option<String>,
    ended_at: Option<String>,
    exit_code: Option<i32>,
    receipt: Option<ReceiptView>,
}

#[derive(Debug, Clone, Serialize)]
struct MainEndView {
    reason: String,
    exit_code: i32,
    at: Option<String>,
    /// Until when its files can be read; `null` once it is ending.
    files_until: Option<String>,
}

/// What an end released.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReceiptView {
    pub(crate) released: Vec<ReleasedView>,
    pub(crate) bytes: u64,
    pub(crate) steps: Vec<StepView>,
    pub(crate) took_ms: f64,
    /// Must be empty.
    pub(crate) left: Vec<LeftView>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReleasedView {
    pub(crate) kind: String,
    pub(crate) count: u32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepView {
    pub(crate) name: String,
    pub(crate) took_ms: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct LeftView {
    pub(crate) kind: String,
    pub(crate) name: String,
}

fn text(at: Option<std::time::SystemTime>) -> Option<String> {
    Timestamp::try_from(at?).ok().map(|at| at.to_string())
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn millis(took: std::time::Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

impl DescriptionView {
    /// Who stands for it, for a column of a table.
    pub(crate) fn ownership_in_words(&self) -> String {
        match (self.ownership.kind, &self.ownership.named) {
            ("owned", Some(name)) => name.clone(),
            ("orphaned", Some(name)) => format!("orphaned by {name}"),
            ("kept", _) => format!("kept: {}", self.ownership.reason.as_deref().unwrap_or_default()),
            (kind, _) => kind.to_owned(),
        }
    }

    /// How long it, or what is kept of it, may still live, for a person.
    pub(crate) fn remaining(&self) -> String {
        match self.files_until {
            Some(until) => short(until.duration_since(Timestamp::now())),
            None => self.sandbox.remaining(),
        }
    }

    /// When something becomes of it for want of an owner, for a person.
    pub(crate) fn until(&self) -> Option<&str> {
        self.ownership.until.as_deref()
    }
}

impl From<Description> for DescriptionView {
    fn from(described: Description) -> Self {
        let mut sandbox = SandboxView::from(described.sandbox);
        let holder = described.ownership.holder.as_ref();
        sandbox.owner_pid = holder.and_then(|holder| holder.process).map(|process| process.pid);
        Self {
            sandbox,
            principal: described.principal,
            ownership: described.ownership.into(),
            policy: described.policy.into(),
            deadlines: described.deadlines.into_iter().map(DeadlineView::from).collect(),
            active: described.active,
            last_active_at: text(described.last_active_at),
            end: described.end.map(EndView::from),
            files_until: described
                .main_end
                .as_ref()
                .and_then(|end| Timestamp::try_from(end.files_until?).ok()),
            main_end: described.main_end.map(MainEndView::from),
        }
    }
}

impl From<Ownership> for OwnershipView {
    fn from(ownership: Ownership) -> Self {
        let Ownership { kind, holder, since, until, reason } = ownership;
        Self {
            kind: kind.as_str(),
            named: holder.as_ref().map(ToString::to_string),
            holder: holder.map(|Holder { lease_id, process, label, .. }| HolderView {
                lease_id,
                pid: process.map(|process| process.pid),
                label,
            }),
            since: text(since),
            until: text(until),
            reason,
        }
    }
}

impl From<Policy> for PolicyView {
    fn from(policy: Policy) -> Self {
        Self {
            detach: policy.detach,
            orphan_grace_seconds: policy.orphan_grace.as_secs(),
            keep: policy.keep.as_str(),
            keep_for_seconds: policy.keep_for.as_secs(),
            keep_as: policy.keep_as.as_str(),
            idle_timeout_seconds: policy.idle_timeout.map(|timeout| timeout.as_secs()),
            on_idle: policy.on_idle.as_str(),
        }
    }
}

impl From<Deadline> for DeadlineView {
    fn from(Deadline { kind, at, then }: Deadline) -> Self {
        Self { kind: kind.as_str(), at: text(Some(at)), then }
    }
}

impl From<End> for EndView {
    fn from(end: End) -> Self {
        Self {
            reason: end.reason,
            by: filled(end.by),
            message: filled(end.message),
            ended_at: text(end.ended_at),
            exit_code: end.exit_code,
            receipt: end.receipt.map(ReceiptView::from),
        }
    }
}

impl From<MainEnd> for MainEndView {
    fn from(MainEnd { reason, exit_code, at, files_until }: MainEnd) -> Self {
        Self { reason, exit_code, at: text(at), files_until: text(files_until) }
    }
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        let Receipt { released, bytes, steps, took, left } = receipt;
        Self {
            released: released.into_iter().map(|(kind, count)| ReleasedView { kind, count }).collect(),
            bytes,
            steps: steps.into_iter().map(|(name, took)| StepView { name, took_ms: millis(took) }).collect(),
            took_ms: millis(took),
            left: left.into_iter().map(|left| LeftView { kind: left.kind, name: left.name }).collect(),
        }
    }
}
