//! After the steps: every sandbox is alive and somebody stands for it, or has ended for a reason that there was; the product's
//! own audit finds nothing; and when all owners are dead, the kernel has nothing left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use ebbtide_tests::holds_within;
use ebbtide_tests::home::is_alive;
use rustix::process::Signal;
use serde_json::Value;

use super::verdict::Wrong;
use super::world::{World, held};

/// The owner's grace in the homes of this test.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long those of owners elsewhere live on without any daemon.
pub(crate) const DAEMON_GRACE: Duration = Duration::from_secs(5);
/// How long one whose end the daemon had taken over lives on without it.
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// How long whatever is on its way may take to arrive, on a busy machine.
const SETTLE: Duration = Duration::from_secs(40);

impl World<'_> {
    /// Everything that must hold while some owners live and some do not.
    pub(crate) fn check(&self) {
        self.note("the steps are over");
        self.network.silence(false, false);
        self.end_failing_daemons();
        self.settle();
        self.doctor("while owners live");
        let alive: Vec<(String, bool)> = {
            let model = self.model();
            let must = model.must_live().filter_map(|case| Some((case.id.clone()?, case.elsewhere)));
            // Some of each: those that were made last have seen the least.
            let (here, elsewhere): (Vec<_>, Vec<_>) = must.partition(|(_, elsewhere)| !elsewhere);
            here.into_iter().take(3).chain(elsewhere.into_iter().take(2)).collect()
        };
        for (id, elsewhere) in alive {
            // Somebody may have paused it.
            let _ = self.ebb(elsewhere, &["resume", &id]);
            let output = self.ebb(elsewhere, &["exec", &id, "--", "true"]);
            if output.code() != 0 {
                held(&self.outcome).lost.push(format!("{id} does not run a command: {}", output.error()));
            }
        }
    }

    /// From here on no daemon dies of its own accord: that would be told from a fault of the product's by nobody.
    fn end_failing_daemons(&self) {
        for (daemon, _) in held(&self.daemons).iter().filter(|(daemon, _)| is_alive(daemon.pid())) {
            held(&self.killed).insert(daemon.pid());
            daemon.signal(Signal::KILL);
        }
    }

    /// The end of all owners: with nobody left who could clean up but the sandboxes themselves, or not.
    pub(crate) fn end(&self, alone: bool) {
        self.note(&format!("the end of all owners (alone: {alone})"));
        let longest = {
            let mut model = self.model();
            for owner in model.living(|_| true) {
                model.end(owner, Signal::KILL);
            }
            if alone {
                // Those elsewhere and those that are kept wait for a daemon, and not for long.
                for case in model.cases.iter_mut() {
                    if case.elsewhere || case.policy.keep.is_some() {
                        case.may_end.insert("daemon_gone");
                    }
                }
            }
            model.longest().max(TAKEN_OVER) + DAEMON_GRACE
        };
        if alone {
            self.signal_daemon(Signal::KILL);
            self.signal_launcher(Signal::KILL);
        }
        // No command is run meanwhile.
        let until = Instant::now() + longest + Duration::from_secs(20);
        while self.inits_left() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.note("no init is waited for any more");
        let left: Vec<String> = {
            let model = self.model();
            let left = model.cases.iter().filter(|case| case.init.is_some());
            left.map(|case| format!("{:?} of step {}", case.id, case.number)).collect()
        };
        if !left.is_empty() {
            held(&self.outcome).leaks.push(format!("outlive their owners (alone: {alone}): {left:?}"));
        }
        self.settle();
        self.doctor("when all owners are dead");
    }

    /// Waits until nothing is wrong with any sandbox, and notes what remains wrong.
    fn settle(&self) {
        let until = Instant::now() + SETTLE;
        loop {
            let wrong = self.wrong();
            if wrong.is_empty() {
                return;
            }
            // What has ended does not come back; all else may yet come right.
            let is_final = wrong.iter().all(|wrong| !matches!(wrong, Wrong::Leak(_)));
            if is_final || Instant::now() > until {
                let mut outcome = held(&self.outcome);
                for wrong in wrong {
                    let (list, words) = match wrong {
                        Wrong::Leak(words) | Wrong::Ended(words) => (&mut outcome.leaks, words),
                        Wrong::Lost(words) => (&mut outcome.lost, words),
                    };
                    // It may have been said before.
                    if !list.contains(&words) {
                        list.push(words);
                    }
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wrong(&self) -> Vec<Wrong> {
        self.watch();
        let mut sandboxes = Vec::new();
        // The second call starts no daemon; the first one has.
        for elsewhere in [false, true] {
            let output = self.ebb(elsewhere, &["list", "--all", "--tag", &self.tag, "--json"]);
            if output.code() != 0 {
                return vec![Wrong::Leak(format!("the listing fails: {}", output.error()))];
            }
            sandboxes.extend(output.json()["sandboxes"].as_array().into_iter().flatten().cloned());
        }
        held(&self.outcome).sandboxes = sandboxes.len() as u64;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_secs().cast_signed();
        let known: BTreeSet<&str> = sandboxes.iter().filter_map(|sandbox| sandbox["id"].as_str()).collect();
        let model = self.model();
        let answered = model.cases.iter().filter_map(|case| case.id.as_deref());
        let mut wrong: Vec<Wrong> = answered
            .filter(|id| !known.contains(id))
            .map(|id| Wrong::Lost(format!("{id} was answered and is unknown")))
            .collect();
        let cases: BTreeMap<String, _> =
            model.cases.iter().map(|case| (self.own(case.number), case)).collect();
        for sandbox in &sandboxes {
            let tags = sandbox["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            match tags.filter_map(|tag| cases.get(tag)).next() {
                Some(case) => wrong.extend(model.wrong_with(case, sandbox, now)),
                None => wrong.push(Wrong::Leak(format!("a sandbox of nobody's: {sandbox}"))),
            }
        }
        wrong
    }

    /// The product's own audit agrees.
    fn doctor(&self, when: &str) {
        let mut said = String::new();
        let clean = holds_within(Duration::from_secs(20), || {
            let output = self.ebb(false, &["doctor", "--json"]);
            said = output.text();
            output.code() == 0
        });
        if !clean {
            held(&self.outcome).leaks.push(format!("doctor {when}: {said:.2000}"));
        }
    }
}
