//! What is to become of a sandbox that nobody ends: without an owner, without work, or at an implicit clean-up.
//!
//! The protocol has no fields for it, so annotations carry it; any client of the protocol can use them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Invalid, Limits};

/// The annotation that says how many seconds a sandbox lives on after its owner, 0 to the server's maximum.
pub const ORPHAN_GRACE_ANNOTATION: &str = "ebbtide.dev/orphan-grace-seconds";
/// The annotation that says that nobody owns the sandbox: `true` or `false`.
pub const DETACH_ANNOTATION: &str = "ebbtide.dev/detach";
/// The annotation that says when a clean-up spares the sandbox: see [`Keep`].
pub const KEEP_ANNOTATION: &str = "ebbtide.dev/keep";
/// The annotation that says for how many seconds a sandbox is kept.
pub const KEEP_FOR_ANNOTATION: &str = "ebbtide.dev/keep-for-seconds";
/// The annotation that says what of a sandbox is kept: see [`KeepAs`].
pub const KEEP_AS_ANNOTATION: &str = "ebbtide.dev/keep-as";
/// The annotation that says after how many seconds without work a sandbox is idle.
pub const IDLE_TIMEOUT_ANNOTATION: &str = "ebbtide.dev/idle-timeout-seconds";
/// The annotation that says what becomes of an idle sandbox: see [`OnIdle`].
pub const ON_IDLE_ANNOTATION: &str = "ebbtide.dev/on-idle";

/// What is to become of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Nobody owns it, whoever makes it.
    pub detach: bool,
    /// How long it lives on after its owner.
    pub orphan_grace: Duration,
    /// When an implicit clean-up spares it.
    pub keep: Keep,
    /// For how long.
    pub keep_for: Duration,
    /// What of it is kept.
    pub keep_as: KeepAs,
    /// After how long without work it is idle; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// What becomes of it then.
    pub on_idle: OnIdle,
}

impl Policy {
    /// Reads the policy from a spec's annotations; what they do not say is the server's default.
    ///
    /// # Errors
    /// The first annotation that is out of range.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Self, Invalid> {
        let read = Reader { annotations };
        let longest = limits.max_lifetime;
        let idle_timeout = read.seconds(IDLE_TIMEOUT_ANNOTATION, 1, longest)?;
        let on_idle = read.word(ON_IDLE_ANNOTATION)?;
        if let (Some(on_idle), None) = (on_idle, idle_timeout) {
            let (field, missing) = (Reader::field(ON_IDLE_ANNOTATION), IDLE_TIMEOUT_ANNOTATION);
            let problem = format!("is {on_idle} for a sandbox that is never idle");
            return Err(Invalid::new(field, problem, format!("only beside {missing}")));
        }
        Ok(Self {
            detach: match annotations.get(DETACH_ANNOTATION).map(String::as_str) {
                None | Some("false") => false,
                Some("true") => true,
                Some(other) => {
                    let problem = format!("{other:?} is neither");
                    return Err(Invalid::new(Reader::field(DETACH_ANNOTATION), problem, "true or false"));
                }
            },
            orphan_grace: read.seconds(ORPHAN_GRACE_ANNOTATION, 0, longest)?.unwrap_or(limits.owner_grace),
            keep: read.word(KEEP_ANNOTATION)?.unwrap_or_default(),
            keep_for: read.seconds(KEEP_FOR_ANNOTATION, 1, longest)?.unwrap_or(limits.keep_for),
            keep_as: read.word(KEEP_AS_ANNOTATION)?.unwrap_or_default(),
            idle_timeout,
            on_idle: on_idle.unwrap_or_default(),
        })
    }

    /// As [`Policy::from_annotations`] makes it of nothing.
    pub fn of_limits(limits: &Limits) -> Self {
        Self {
            detach: false,
            orphan_grace: limits.owner_grace,
            keep: Keep::default(),
            keep_for: limits.keep_for,
            keep_as: KeepAs::default(),
            idle_timeout: None,
            on_idle: OnIdle::default(),
        }
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn field(key: &str) -> String {
        format!("annotations[{key}]")
    }

    fn seconds(&self, key: &str, least: u64, most: Duration) -> Result<Option<Duration>, Invalid> {
        let Some(text) = self.annotations.get(key) else { return Ok(None) };
        let seconds = text.parse().ok().filter(|seconds| (least..=most.as_secs()).contains(seconds));
        seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(|| {
            let accepted = format!("{least} to {} seconds", most.as_secs());
            Invalid::new(Self::field(key), format!("{text:?} is out of range"), accepted)
        })
    }

    fn word<T: FromStr<Err = Invalid>>(&self, key: &str) -> Result<Option<T>, Invalid> {
        let Some(text) = self.annotations.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|refused: Invalid| Invalid { field: Self::field(key), ..refused })
    }
}

/// An enum of words: its names, both ways.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable text form.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    Invalid::new($field, format!("{text:?} is unknown"), words.join(", "))
                })
            }
        }
    };
}

words! {
    /// When an implicit clean-up spares a sandbox. An explicit stop always stops.
    Keep, "keep" {
        /// Never.
        #[default]
        Never = "never",
        /// When it has failed: its main command ended otherwise than with 0, or its owner ended without having stopped it.
        OnFailure = "on_failure",
        /// Always.
        Always = "always",
        /// When it was adopted, not made, by whoever cleans up.
        Attached = "attached",
    }
}

words! {
    /// What of a sandbox is kept.
    KeepAs, "keep_as" {
        /// All of it, and it runs on.
        Running = "running",
        /// All of it, frozen.
        #[default]
        Paused = "paused",
        /// Its files and logs; what ran in it is ended.
        Files = "files",
    }
}

words! {
    /// What becomes of an idle sandbox.
    OnIdle, "on_idle" {
        /// It ends.
        #[default]
        Stop = "stop",
        /// It is frozen, until somebody uses it.
        Pause = "pause",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Policy, Invalid> {
        let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Policy::from_annotations(&annotations, &Limits::default())
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(read(&[]), Ok(Policy::of_limits(&Limits::default())));
    }

    #[test]
    fn every_word_is_read() {
        let policy = read(&[
            (ORPHAN_GRACE_ANNOTATION, "5"),
            (DETACH_ANNOTATION, "true"),
            (KEEP_ANNOTATION, "on_failure"),
            (KEEP_FOR_ANNOTATION, "90"),
            (KEEP_AS_ANNOTATION, "files"),
            (IDLE_TIMEOUT_ANNOTATION, "7"),
            (ON_IDLE_ANNOTATION, "pause"),
        ])
        .unwrap();
        assert_eq!((policy.detach, policy.orphan_grace), (true, Duration::from_secs(5)));
        assert_eq!((policy.keep, policy.keep_for), (Keep::OnFailure, Duration::from_secs(90)));
        assert_eq!((policy.keep_as, policy.on_idle), (KeepAs::Files, OnIdle::Pause));
        assert_eq!(policy.idle_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (key, value) in [
            (ORPHAN_GRACE_ANNOTATION, "-1"),
            (ORPHAN_GRACE_ANNOTATION, "86401"),
            (ORPHAN_GRACE_ANNOTATION, "inf"),
            (DETACH_ANNOTATION, "yes"),
            (KEEP_ANNOTATION, "sometimes"),
            (KEEP_FOR_ANNOTATION, "0"),
            (KEEP_AS_ANNOTATION, ""),
            (IDLE_TIMEOUT_ANNOTATION, "0"),
            (ON_IDLE_ANNOTATION, "stop"),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err().field, format!("annotations[{key}]"), "{value}");
        }
    }
}
