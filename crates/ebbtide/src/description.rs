//! All that is known of a sandbox: who stands for it, what keeps it alive, when and why it will end or has.

use std::fmt;
use std::time::{Duration, SystemTime};

use ebbtide_model::{Keep, KeepAs, Leftover, OnIdle, Policy, Receipt};
use ebbtide_proto::ebbtide::v1 as own;

use crate::lease::LeaseToken;
use crate::{Client, Error, Ownership, OwnershipKind, SandboxInfo};

const PAGE_SIZE: u32 = 200;

/// All that is known of a sandbox.
///
/// ```no_run
/// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
/// let described = sandbox.describe().await?;
/// if let Some(first) = described.deadlines.first() {
///     println!("{}, at the latest {:?} ({})", described.ownership.kind, first.at, first.kind);
/// }
/// println!("{}", ebbtide::why(&described));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The sandbox.
    pub sandbox: SandboxInfo,
    /// Whose it is, e.g. `uid:0`.
    pub principal: String,
    /// Who stands for it.
    pub ownership: Ownership,
    /// What is to become of it.
    pub policy: Policy,
    /// What will end it, or deal with it, the first to come first. Empty for one that has ended.
    pub deadlines: Vec<Deadline>,
    /// How many commands run in it by exec, and files are copied. None is idle.
    pub active: u32,
    /// When it was last used, if that is known.
    pub last_active_at: Option<SystemTime>,
    /// How it ended, or why it is ending.
    pub end: Option<End>,
    /// How its main command ended, where the sandbox was kept all the same.
    pub main_end: Option<MainEnd>,
}

/// How the main command of a sandbox ended that was kept all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainEnd {
    /// `main_exited` or `out_of_memory`.
    pub reason: String,
    /// The exit code.
    pub exit_code: i32,
    /// When.
    pub at: Option<SystemTime>,
    /// Until when its files can be read and commands run in it, unless somebody stops it earlier; `None` once it is ending.
    pub files_until: Option<SystemTime>,
}

/// A moment at which something becomes of a sandbox by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// What is over then.
    pub kind: DeadlineKind,
    /// When.
    pub at: SystemTime,
    /// What happens then: `stop`, `pause`, `keep` or `kill`.
    pub then: String,
}

/// What is over at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineKind {
    /// The longest that it may live.
    Lifetime,
    /// The time in which an orphan can be adopted.
    OrphanGrace,
    /// The time for which it is kept.
    Keep,
    /// The time that it may be idle.
    Idle,
    /// The time that its commands have to end by themselves.
    StopGrace,
    /// Something that this version does not know.
    Unknown,
}

impl DeadlineKind {
    /// Every kind that has a name.
    pub const ALL: [Self; 5] = [Self::Lifetime, Self::OrphanGrace, Self::Keep, Self::Idle, Self::StopGrace];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::OrphanGrace => "orphan_grace",
            Self::Keep => "keep",
            Self::Idle => "idle",
            Self::StopGrace => "stop_grace",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for DeadlineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a sandbox ended, or why it is ending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// One stable word, e.g. `owner_gone`.
    pub reason: String,
    /// Who asked for it; empty where nobody did.
    pub by: String,
    /// Words for a person; may be empty.
    pub message: String,
    /// When its last resource was released.
    pub ended_at: Option<SystemTime>,
    /// The exit code of the main command, once it is known.
    pub exit_code: Option<i32>,
    /// What was released; `None` until it is over, and where nobody saw it.
    pub receipt: Option<Receipt>,
}

impl Client {
    /// All that is known of one sandbox.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn describe(&self, id: &str) -> Result<Description, Error> {
        self.describe_as(id, None).await
    }

    pub(crate) async fn describe_as(
        &self,
        id: &str,
        lease: Option<&LeaseToken>,
    ) -> Result<Description, Error> {
        let request = LeaseToken::put_on(lease, own::DescribeRequest { sandbox_id: id.to_owned() });
        Ok(self.own().describe(request).await?.into_inner().into())
    }

    /// All that is known of those sandboxes that have all of `tags`, and this ownership if one is given, the oldest
    /// first; ended ones only if `show_terminated` says so.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn descriptions(
        &self,
        tags: &[String],
        ownership: Option<OwnershipKind>,
        show_terminated: bool,
    ) -> Result<Vec<Description>, Error> {
        let kind = ownership.map_or(own::OwnershipKind::Unspecified, OwnershipKind::to_message);
        let mut request = own::ListDescriptionsRequest {
            tags: tags.to_vec(),
            ownership: kind.into(),
            show_terminated,
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let page = self.own().list_descriptions(request.clone()).await?.into_inner();
            all.extend(page.descriptions.into_iter().map(Description::from));
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            if page.next_page_token == request.page_token {
                return Err(Error::Protocol("a listing that never ends".to_owned()));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Freezes what runs in a sandbox. One that is frozen already is no error.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn pause(&self, id: &str) -> Result<Description, Error> {
        let request = own::PauseRequest { sandbox_id: id.to_owned() };
        Ok(self.own().pause(request).await?.into_inner().into())
    }

    /// Goes on with what was frozen. One that runs is no error.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn resume(&self, id: &str) -> Result<Description, Error> {
        let request = own::ResumeRequest { sandbox_id: id.to_owned() };
        Ok(self.own().resume(request).await?.into_inner().into())
    }
}

fn time(at: Option<impl TryInto<SystemTime>>) -> Option<SystemTime> {
    at.and_then(|at| at.try_into().ok())
}

fn length(duration: Option<impl TryInto<Duration>>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

impl From<own::Description> for Description {
    fn from(message: own::Description) -> Self {
        Self {
            sandbox: message.sandbox.unwrap_or_default().into(),
            principal: message.principal,
            ownership: message.ownership.unwrap_or_default().into(),
            policy: policy(message.policy.unwrap_or_default()),
            deadlines: message.deadlines.into_iter().filter_map(deadline).collect(),
            active: message.active,
            last_active_at: time(message.last_active_at),
            end: message.end.map(End::from),
            main_end: message.main_end.map(MainEnd::from),
        }
    }
}

/// A word that this version does not know is its default.
fn policy(message: own::Policy) -> Policy {
    Policy {
        detach: message.detach,
        orphan_grace: length(message.orphan_grace),
        keep: message.keep.parse::<Keep>().unwrap_or_default(),
        keep_for: length(message.keep_for),
        keep_as: message.keep_as.parse::<KeepAs>().unwrap_or_default(),
        idle_timeout: message.idle_timeout.map(|timeout| length(Some(timeout))),
        on_idle: message.on_idle.parse::<OnIdle>().unwrap_or_default(),
    }
}

fn deadline(message: own::Deadline) -> Option<Deadline> {
    let kind = DeadlineKind::ALL.into_iter().find(|kind| kind.as_str() == message.kind);
    let (kind, then) = (kind.unwrap_or(DeadlineKind::Unknown), message.then);
    time(message.at).map(|at| Deadline { kind, at, then })
}

impl From<own::End> for End {
    fn from(message: own::End) -> Self {
        let own::End { reason, by, message, ended_at, exit_code, receipt } = message;
        Self { reason, by, message, ended_at: time(ended_at), exit_code, receipt: receipt.map(self::receipt) }
    }
}

impl From<own::MainEnd> for MainEnd {
    fn from(message: own::MainEnd) -> Self {
        let own::MainEnd { reason, exit_code, at, files_until } = message;
        Self { reason, exit_code, at: time(at), files_until: time(files_until) }
    }
}

fn receipt(message: own::Receipt) -> Receipt {
    Receipt {
        released: message.released.into_iter().map(|of| (of.kind, of.count)).collect(),
        bytes: message.bytes,
        steps: message.steps.into_iter().map(|step| (step.name, length(step.took))).collect(),
        took: length(message.took),
        left: message.left.into_iter().map(|left| Leftover { kind: left.kind, name: left.name }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_a_kind_to_come_is_shown_and_one_without_a_time_is_not() {
        let at = Some(SystemTime::UNIX_EPOCH.into());
        let known = own::Deadline { kind: "keep".into(), at, then: "stop".into() };
        let unknown = own::Deadline { kind: "moonrise".into(), ..known.clone() };
        let message = own::Description {
            deadlines: vec![known.clone(), unknown, own::Deadline { at: None, ..known }],
            ..Default::default()
        };
        let kinds: Vec<_> = Description::from(message).deadlines.iter().map(|at| at.kind).collect();
        assert_eq!(kinds, [DeadlineKind::Keep, DeadlineKind::Unknown]);
    }
}
