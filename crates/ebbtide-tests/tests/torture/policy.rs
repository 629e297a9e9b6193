//! What a sandbox asks for beyond a process that owns it: how it may be kept, when it is idle, how long it may live.

use std::time::Duration;

use ebbtide::{Keep, KeepAs, OnIdle, SandboxBuilder};

/// How long a sandbox lives on after an owner that has to come back over the network: for longer than all that may keep it
/// from that. A connection whose end is lost in a silence of up to 1.8 s is missed at the next heartbeat (5 s), the kernel pauses
/// for up to 3.2 s between two attempts, and the daemon may be stopped, or only just starting.
pub(crate) const GRACE_ELSEWHERE: Duration = Duration::from_secs(12);

/// What a sandbox asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// When it is kept, for how long, and what of it.
    pub(crate) keep: Option<(Keep, Duration, KeepAs)>,
    /// After how long without use it is idle, and what becomes of it then.
    pub(crate) idle: Option<(Duration, OnIdle)>,
    /// How long it may live.
    pub(crate) lifetime: Option<Duration>,
    /// Nobody owns it.
    pub(crate) detach: bool,
}

impl Policy {
    /// One of a step. Half of all ask for nothing: what is most common has to be tried most.
    pub(crate) fn of(random: &mut fastrand::Rng) -> Self {
        let mut policy = Self::default();
        if random.bool() {
            return policy;
        }
        let seconds = |random: &mut fastrand::Rng, range| Duration::from_secs(random.u64(range));
        if random.u8(..2) == 0 {
            let keep = [Keep::Never, Keep::OnFailure, Keep::Always, Keep::Attached][random.usize(..4)];
            let kept = [KeepAs::Running, KeepAs::Paused, KeepAs::Files][random.usize(..3)];
            policy.keep = Some((keep, seconds(random, 1..4), kept));
        }
        match random.u8(..3) {
            0 => {
                let then = [OnIdle::Stop, OnIdle::Pause][random.usize(..2)];
                policy.idle = Some((seconds(random, 1..5), then));
            }
            1 => {
                policy.lifetime = Some(seconds(random, 4..10));
                policy.detach = random.u8(..3) == 0;
            }
            _ => {}
        }
        policy
    }

    /// As words, for `ebb create` and for a program that makes one; [`Policy::read`] understands them.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut say = |name: &str, value: String| words.extend([name.to_owned(), value]);
        let seconds = |length: Duration| length.as_secs().to_string();
        if let Some((keep, length, kept)) = self.keep {
            say("--keep", keep.to_string());
            say("--keep-for", seconds(length));
            say("--keep-as", kept.to_string());
        }
        if let Some((length, then)) = self.idle {
            say("--idle-timeout", seconds(length));
            say("--on-idle", then.to_string());
        }
        if let Some(length) = self.lifetime {
            say("--lifetime", seconds(length));
        }
        if self.detach {
            words.push("--detach".to_owned());
        }
        words
    }

    /// The same, out of such words.
    pub(crate) fn read<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let words: Vec<&str> = words.collect();
        let value = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        let seconds = |name: &str| value(name).and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let keep = || {
            Some((value("--keep")?.parse().ok()?, seconds("--keep-for")?, value("--keep-as")?.parse().ok()?))
        };
        let idle = || Some((seconds("--idle-timeout")?, value("--on-idle")?.parse().ok()?));
        let (keep, idle) = (keep(), idle());
        Self { keep, idle, lifetime: seconds("--lifetime"), detach: words.contains(&"--detach") }
    }

    /// Asks for it.
    pub(crate) fn build(&self, mut builder: SandboxBuilder) -> SandboxBuilder {
        if let Some((keep, length, kept)) = self.keep {
            builder = builder.keep(keep).keep_for(length).keep_as(kept);
        }
        if let Some((length, then)) = self.idle {
            builder = builder.idle_timeout(length).on_idle(then);
        }
        if let Some(length) = self.lifetime {
            builder = builder.max_lifetime(length);
        }
        if self.detach { builder.detach() } else { builder }
    }

    /// For how long it would be kept at all.
    pub(crate) fn keep_for(&self) -> Duration {
        self.keep.map_or(Duration::ZERO, |(_, length, _)| length)
    }

    /// Whether the end of its owner spares it.
    pub(crate) fn spares_orphan(&self, adopted: bool) -> bool {
        match self.keep.map(|(keep, ..)| keep) {
            Some(Keep::Always | Keep::OnFailure) => true,
            Some(Keep::Attached) => adopted,
            _ => false,
        }
    }

    /// Whether its files are kept, and it is not ended, when its main command was killed.
    pub(crate) fn spares_main_end(&self, adopted: bool) -> bool {
        // As one that has failed, by whomever it was.
        self.spares_orphan(adopted)
    }

    /// Whether it is kept, and not ended, when nobody has used it for too long.
    pub(crate) fn spares_idle(&self) -> bool {
        matches!(self.idle, Some((_, OnIdle::Stop))) && matches!(self.keep, Some((Keep::Always, ..)))
    }
}

#[test]
fn what_a_sandbox_asks_for_survives_being_said_in_words() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..200 {
        let policy = Policy::of(&mut random);
        assert_eq!(Policy::read(policy.options().iter().map(String::as_str)), policy);
    }
}
