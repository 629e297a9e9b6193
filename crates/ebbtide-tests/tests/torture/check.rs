//! After the steps: every sandbox is alive with a living owner or has ended for a reason that there was; the product's
//! own audit finds nothing; and when all owners are dead, the kernel has nothing left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ebbtide_tests::command::kill;
use ebbtide_tests::{Machine, holds_within};
use rustix::process::Signal;
use serde_json::Value;

use super::owners::Owner;
use super::world::{World, held};

/// The owner's grace in the homes of this test.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long whatever is on its way may take to arrive, on a busy machine.
const SETTLE: Duration = Duration::from_secs(40);

/// What is wrong with a sandbox.
enum Wrong {
    Leak(String),
    Lost(String),
}

impl World<'_> {
    /// Everything that must hold while some owners live and some do not.
    pub(crate) fn check(&self) {
        for owner in self.owners().iter().filter(|owner| owner.alive) {
            kill(owner.pid, Signal::CONT);
        }
        self.settle();
        self.doctor("while owners live");
        let alive: Vec<String> = {
            let owners = self.owners();
            let may_end = |owner: &Owner| !owner.may_end.is_empty() || self.may_have_lost_its_init(owner);
            let must = owners.iter().filter(|owner| owner.alive && !may_end(owner));
            must.filter_map(|owner| owner.sandbox.clone()).take(3).collect()
        };
        for id in alive {
            let output = self.ebb(&["exec", &id, "--", "true"]);
            if output.code() != 0 {
                held(&self.outcome).lost.push(format!("{id} does not run a command: {}", output.error()));
            }
        }
    }

    /// The end of all owners: with nobody left who could clean up but the sandboxes themselves, or not.
    pub(crate) fn end(&self, alone: bool) {
        for owner in self.owners().iter_mut().filter(|owner| owner.alive) {
            owner.end(Signal::KILL);
        }
        if alone {
            self.home.daemon().into_iter().for_each(|pid| kill(pid, Signal::KILL));
            self.home.processes("ebb-launcher").into_iter().for_each(|pid| kill(pid, Signal::KILL));
        }
        // No command is run meanwhile.
        let until = Instant::now() + GRACE + Duration::from_secs(20);
        while self.inits_left() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = self.inits_left();
        if left > 0 {
            held(&self.outcome).leaks.push(format!("{left} sandboxes outlive their owners (alone: {alone})"));
        }
        self.settle();
        self.doctor("when all owners are dead");
    }

    /// The home is shut down, and nothing of it is there.
    pub(crate) fn nothing_left(&self, machine: &Machine) {
        self.home.shutdown();
        self.reap();
        let mut left = Vec::new();
        holds_within(Duration::from_secs(15), || {
            left = machine.left();
            left.is_empty()
        });
        held(&self.outcome).leaks.extend(left);
    }

    /// Waits until nothing is wrong with any sandbox, and notes what remains wrong.
    fn settle(&self) {
        let until = Instant::now() + SETTLE;
        loop {
            let wrong = self.wrong();
            if wrong.is_empty() {
                return;
            }
            // What has ended against its owner's will does not come back.
            let lost = wrong.iter().any(|wrong| matches!(wrong, Wrong::Lost(_)));
            if lost || Instant::now() > until {
                let mut outcome = held(&self.outcome);
                for wrong in wrong {
                    match wrong {
                        Wrong::Leak(words) => outcome.leaks.push(words),
                        Wrong::Lost(words) => outcome.lost.push(words),
                    }
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wrong(&self) -> Vec<Wrong> {
        self.watch();
        let output = self.ebb(&["list", "--all", "--tag", &self.tag, "--json"]);
        if output.code() != 0 {
            return vec![Wrong::Leak(format!("the listing fails: {}", output.error()))];
        }
        let list = output.json();
        let sandboxes = list["sandboxes"].as_array().cloned().unwrap_or_default();
        held(&self.outcome).sandboxes = sandboxes.len() as u64;
        let by_id: BTreeMap<&str, &Value> =
            sandboxes.iter().filter_map(|sandbox| Some((sandbox["id"].as_str()?, sandbox))).collect();
        let mut wrong: Vec<Wrong> = held(&self.answered)
            .iter()
            .filter(|id| !by_id.contains_key(id.as_str()))
            .map(|id| Wrong::Lost(format!("{id} was answered and is unknown")))
            .collect();
        wrong.extend(sandboxes.iter().filter_map(|sandbox| self.wrong_with(sandbox)));
        wrong
    }

    fn wrong_with(&self, sandbox: &Value) -> Option<Wrong> {
        let id = sandbox["id"].as_str().unwrap_or_default();
        let reason = sandbox["reason"].as_str().unwrap_or_default();
        let ended = sandbox["ended_at"].is_string();
        let owners = self.owners();
        let owner = owners.iter().find(|owner| sandbox["owner_pid"].as_u64() == Some(owner.pid.into()));
        let Some(owner) = owner else {
            return Some(Wrong::Leak(format!("a sandbox of nobody's: {sandbox}")));
        };
        let answered = held(&self.answered).iter().any(|known| known == id);
        let reason_was_given = owner.may_end.iter().any(|end| reason.starts_with(end))
            || (reason.starts_with("init_killed") && self.may_have_lost_its_init(owner))
            // Nobody has ever been told of it; nor has anybody of an `ebb run` that has ended itself.
            || (!answered && reason.starts_with("create_failed"))
            || (owner.is_run() && !reason.is_empty());
        match (ended, owner.alive) {
            (true, _) if reason_was_given => None,
            (true, true) => Some(Wrong::Lost(format!("its owner {} lives: {sandbox}", owner.pid))),
            (true, false) => Some(Wrong::Leak(format!("ended without a reason that there was: {sandbox}"))),
            (false, false) => Some(Wrong::Leak(format!("its owner {} is dead: {sandbox}", owner.pid))),
            (false, true) if sandbox["state"] == "running" || !owner.may_end.is_empty() => None,
            (false, true) => Some(Wrong::Leak(format!("neither here nor there: {sandbox}"))),
        }
    }

    /// Whether an init was killed that may be its sandbox's: before that was known, or while it was given away.
    fn may_have_lost_its_init(&self, owner: &Owner) -> bool {
        let spares = held(&self.spares_killed);
        owner.init_pid.map_or(!spares.is_empty(), |pid| spares.contains(&pid))
    }

    /// The product's own audit agrees.
    fn doctor(&self, when: &str) {
        let mut said = String::new();
        let clean = holds_within(Duration::from_secs(20), || {
            let output = self.ebb(&["doctor", "--json"]);
            said = output.text();
            output.code() == 0
        });
        if !clean {
            held(&self.outcome).leaks.push(format!("doctor {when}: {said:.2000}"));
        }
    }
}
