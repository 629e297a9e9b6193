//! What is known of each sandbox: who may own it, what has been done to it, and so what may have become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use ebbtide::{Keep, OnIdle};
use rustix::process::Signal;

use super::check::GRACE;
use super::owners::Owner;
use super::policy::{GRACE_ELSEWHERE, Policy};

/// A sandbox, from the moment at which it is asked for.
pub(crate) struct Case {
    /// The number of the step that asks for it; also the last part of its tag.
    pub(crate) number: u64,
    pub(crate) policy: Policy,
    /// Whether the organisation of those elsewhere has it.
    pub(crate) elsewhere: bool,
    /// Those that are purged together with it.
    pub(crate) class: usize,
    /// Its id, once a create has answered.
    pub(crate) id: Option<String>,
    /// The keys of those of whom one owns it. Nobody: it is detached.
    pub(crate) owners: Vec<u64>,
    /// When the last one of them died.
    pub(crate) died: Option<(Instant, SystemTime)>,
    /// Whether it was known to run then.
    pub(super) ran: bool,
    /// Whether somebody may have adopted it.
    pub(crate) adopted: bool,
    /// Somebody tries to adopt it, or to let go of it.
    pub(crate) in_hands: bool,
    /// Whether it may be nobody's.
    pub(crate) detached: bool,
    /// Whether it may be paused.
    pub(crate) paused: bool,
    /// Its init, while that is there.
    pub(crate) init: Option<(u32, OwnedFd)>,
    /// The number that its init has or has had.
    pub(crate) init_pid: Option<u32>,
    /// The reasons for which it may have ended. Empty: it must live.
    pub(crate) may_end: BTreeSet<&'static str>,
}

impl Case {
    pub(crate) fn new(number: u64, policy: Policy, owner: Option<u64>) -> Self {
        let mut may_end = BTreeSet::new();
        if policy.lifetime.is_some() {
            may_end.insert("lifetime_expired");
        }
        if let Some((_, OnIdle::Stop)) = policy.idle {
            may_end.insert("idle");
        }
        if policy.spares_idle() {
            may_end.insert("keep_expired");
        }
        let detached = policy.detach;
        Self {
            number,
            elsewhere: false,
            class: usize::MAX,
            id: None,
            owners: owner.filter(|_| !detached).into_iter().collect(),
            died: None,
            ran: false,
            adopted: false,
            in_hands: false,
            detached,
            paused: matches!(policy.idle, Some((_, OnIdle::Pause))) || policy.spares_idle(),
            init: None,
            init_pid: None,
            may_end,
            policy,
        }
    }

    /// Its owner is gone, or may be.
    fn orphan(&mut self) {
        self.may_end.insert("owner_gone");
        if self.policy.keep.is_some_and(|(keep, ..)| keep != Keep::Never) {
            self.may_end.insert("keep_expired");
            self.paused = true;
        }
    }

    /// Whether its files may be kept since its main command was killed, whoever owns it.
    pub(crate) fn keeps_files(&self) -> bool {
        self.may_end.contains("main_exited") && self.policy.spares_main_end(self.adopted)
    }

    /// This one owns it from now on, for certain.
    pub(crate) fn adopted_by(&mut self, owner: u64, alive: bool) {
        self.owners = vec![owner];
        self.adopted = true;
        self.detached = false;
        self.forgive(alive);
    }

    /// It is nobody's from now on, for certain.
    pub(crate) fn let_go(&mut self) {
        self.owners.clear();
        self.detached = true;
        self.forgive(true);
    }

    fn forgive(&mut self, alive: bool) {
        if alive {
            self.may_end.remove("owner_gone");
            if !self.policy.spares_idle() {
                self.may_end.remove("keep_expired");
            }
            self.died = None;
        } else {
            self.orphan();
        }
    }

    /// How long it lives on after its owner.
    pub(super) fn grace(&self) -> Duration {
        if self.elsewhere { GRACE_ELSEWHERE } else { GRACE }
    }
}

/// Everybody and everything of a round.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) owners: BTreeMap<u64, Owner>,
    pub(crate) cases: Vec<Case>,
    /// Inits that were killed while nobody was known to have them.
    pub(crate) spares_killed: BTreeSet<u32>,
    next: u64,
}

impl Model {
    /// One owner more; returns its key.
    pub(crate) fn owner(&mut self, owner: Owner) -> u64 {
        self.next += 1;
        self.owners.insert(self.next, owner);
        self.next
    }

    /// The keys of those that live and are so.
    pub(crate) fn living(&self, is: impl Fn(&Owner) -> bool) -> Vec<u64> {
        let living = self.owners.iter().filter(|(_, owner)| owner.alive && is(owner));
        living.map(|(key, _)| *key).collect()
    }

    pub(crate) fn case(&mut self, number: u64) -> Option<&mut Case> {
        self.cases.iter_mut().find(|case| case.number == number)
    }

    pub(crate) fn is_alive(&self, owner: u64) -> bool {
        self.owners.get(&owner).is_some_and(|owner| owner.alive)
    }

    /// Sends an owner a signal that it does not outlive, and notes what follows.
    pub(crate) fn end(&mut self, key: u64, signal: Signal) {
        let Some(owner) = self.owners.get_mut(&key) else { return };
        owner.end(signal);
        let is_run = owner.is_run();
        for case in self.cases.iter_mut().filter(|case| case.owners.contains(&key)) {
            case.orphan();
            if is_run {
                case.may_end.extend(["stopped", "create_failed"]);
            }
            if case.owners.iter().all(|key| !self.owners.get(key).is_some_and(|owner| owner.alive)) {
                case.died = Some((Instant::now(), SystemTime::now()));
                case.ran = case.id.is_some();
            }
        }
    }

    /// Those that must be alive, come what may.
    pub(crate) fn must_live(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| {
            let owned = case.owners.iter().all(|owner| self.is_alive(*owner)) && !case.in_hands;
            case.id.is_some() && owned && case.may_end.is_empty() && !self.may_have_lost_its_init(case)
        })
    }

    /// Whether an init was killed that may be its sandbox's: before that was known, or while it was given away.
    pub(super) fn may_have_lost_its_init(&self, case: &Case) -> bool {
        let spares = &self.spares_killed;
        case.init_pid.map_or(!spares.is_empty(), |pid| spares.contains(&pid))
    }

    /// The longest that anything may take to go by itself when all owners are dead.
    pub(crate) fn longest(&self) -> Duration {
        let of = |case: &Case| case.grace() + case.policy.keep_for();
        let kept = self.cases.iter().map(of).max().unwrap_or_default();
        let lifetime = self.cases.iter().filter_map(|case| case.policy.lifetime).max().unwrap_or_default();
        kept.max(lifetime)
    }

    /// Those that nothing but the end of their owner has ended, with how long after it: their init is gone.
    pub(crate) fn released(&mut self) -> Vec<Duration> {
        let mut released = Vec::new();
        for case in
            self.cases.iter_mut().filter(|case| case.init.as_ref().is_some_and(|(_, fd)| has_ended(fd)))
        {
            case.init = None;
            let plain = case.policy == Policy::default() && !case.elsewhere && !case.adopted;
            let only = plain && case.may_end.iter().all(|end| *end == "owner_gone");
            released.extend(case.died.filter(|_| only).map(|(died, _)| died.elapsed()));
        }
        released
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ended| ended > 0)
}
