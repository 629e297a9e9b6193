//! What is done to who owns a sandbox, and whether it runs: under leases, here and elsewhere.

use std::sync::mpsc::Receiver;
use std::thread::Scope;

use ebbtide_tests::Output;
use rustix::process::Signal;

use super::LIMIT;
use super::holder::{Ask, Holder};
use super::model::Case;
use super::owners::Owner;
use super::schedule::Step;
use super::signals::one_of;
use super::world::{World, held};

/// How many programs hold leases at most, here and elsewhere.
const HOLDERS: usize = 8;

/// What came of trying to own something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
    /// It may have been done.
    Unclear,
}

impl World<'_> {
    pub(super) fn hold(&self, step: &Step) -> bool {
        let mut model = self.model();
        if model.living(|owner| owner.ask().is_some()).len() >= HOLDERS {
            return false;
        }
        let elsewhere = step.number.is_multiple_of(2);
        let holder = if elsewhere {
            Holder::elsewhere(&self.network, &self.elsewhere)
        } else {
            Holder::at_home(self.home)
        };
        let key = model.owner(Owner::holder(holder, elsewhere));
        self.note(&format!("program {key}, elsewhere: {elsewhere}"));
        true
    }

    pub(super) fn make<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let step = step.clone();
        {
            let model = self.model();
            if self.is_full(&model) || model.living(|owner| owner.ask().is_some()).is_empty() {
                return false;
            }
        }
        self.beside(scope, move |world| {
            let answer = {
                let mut model = world.model();
                let holders = model.living(|owner| owner.ask().is_some());
                let Some(key) = one_of(&holders, &step) else { return };
                let Some(owner) = model.owners.get(&key) else { return };
                let (Some(ask), elsewhere) = (owner.ask(), owner.elsewhere) else { return };
                let tags = world.begin(&mut model, &step, Some(key), elsewhere).join(",");
                let payload = if step.policy.idle.is_some() { "" } else { " -- sleep 3600" };
                let options = step.policy.options().join(" ");
                // Told while nobody can kill it in between.
                tell(&ask, &step, 0, &format!("make {tags} {options}{payload}"))
            };
            match answer.recv_timeout(LIMIT) {
                Ok(said) => match said.strip_prefix("made ") {
                    Some(id) => world.learn(step.number, id),
                    None => world.note(&format!("{:>6} was not made: {said}", step.number)),
                },
                Err(_) => world.note(&format!("{:>6}: no answer", step.number)),
            }
        })
    }

    /// Two who live try to adopt one that nobody stands for, in the same moment.
    pub(super) fn adopt_twice<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let step = step.clone();
        self.nobodys(&step).is_some() && self.beside(scope, move |world| world.adopt_now(&step))
    }

    /// One whose owners are dead, or that has none, and that is in nobody's hands: its number.
    fn nobodys(&self, step: &Step) -> Option<u64> {
        let model = self.model();
        let nobodys = |case: &&Case| {
            let dead = !case.owners.iter().any(|owner| model.is_alive(*owner));
            dead && !case.in_hands && case.id.is_some() && case.init.is_some()
        };
        one_of(&model.cases.iter().filter(nobodys).map(|case| case.number).collect::<Vec<_>>(), step)
    }

    pub(super) fn adopt_now(&self, step: &Step) {
        let Some(number) = self.nobodys(step) else { return };
        let mut model = self.model();
        let Some(case) = model.case(number) else { return };
        let (Some(id), elsewhere, false) = (case.id.clone(), case.elsewhere, case.in_hands) else { return };
        case.in_hands = true;
        let mut heirs = model.living(|owner| owner.elsewhere == elsewhere && !owner.is_run());
        let mut tried: Vec<u64> = Vec::new();
        for turn in 0..2.min(heirs.len()) {
            tried.push(heirs.swap_remove((step.pick >> turn) % heirs.len()));
        }
        let attempts: Vec<_> = tried
            .iter()
            .filter_map(|key| {
                let owner = model.owners.get(key)?;
                let pid = owner.pid.to_string();
                Some(match owner.ask() {
                    Some(ask) => Attempt::Told(tell(&ask, step, *key, &format!("adopt {id}"))),
                    None => {
                        Attempt::Run(self.command(false, ["adopt", "--json", &id, "--owner", &pid]).spawn())
                    }
                })
            })
            .collect();
        // From here on any of them may have it, and may die with it.
        if let Some(case) = model.case(number) {
            case.owners.extend(&tried);
            case.adopted |= !tried.is_empty();
        }
        drop(model);
        let answers: Vec<Answer> = attempts.into_iter().map(Attempt::answer).collect();
        self.note(&format!("{:>6} adoption of {id} by {tried:?}: {answers:?}", step.number));
        let mut model = self.model();
        let alive: Vec<bool> = tried.iter().map(|key| model.is_alive(*key)).collect();
        let Some(case) = model.case(number) else { return };
        case.in_hands = false;
        let won: Vec<usize> = (0..tried.len()).filter(|at| answers.get(*at) == Some(&Answer::Done)).collect();
        let both = matches!(won[..], [first, second] if alive[first] && alive[second]);
        // What is kept can be taken over again, though whoever had it lives.
        if both && !case.keeps_files() && !case.policy.spares_idle() {
            held(&self.outcome).lost.push(format!("{id} was adopted by two at once: {tried:?}"));
        }
        match won[..] {
            // Which of them was the second is not known.
            [_, _] if both => {
                case.adopted_by(tried[0], true);
                case.owners.clone_from(&tried);
            }
            [] => case.owners.retain(|owner| {
                let at = tried.iter().position(|tried| tried == owner);
                at.is_none_or(|at| answers.get(at) == Some(&Answer::Unclear))
            }),
            // The last one that lives: who has won and died may have been followed.
            [.., last] => {
                self.count("adopted by one", false);
                let at = won.iter().copied().rfind(|at| alive[*at]).unwrap_or(last);
                case.adopted_by(tried[at], alive[at]);
            }
        }
    }

    /// Whoever holds it lets go of one that has a short life; so does somebody who adopts an orphan for nobody.
    pub(super) fn detach<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let step = step.clone();
        self.beside(scope, move |world| world.detach_now(&step))
    }

    pub(super) fn detach_now(&self, step: &Step) {
        let mut model = self.model();
        let could = |case: &&Case| {
            case.policy.lifetime.is_some() && case.id.is_some() && !case.in_hands && case.init.is_some()
        };
        let numbers: Vec<u64> = model.cases.iter().filter(could).map(|case| case.number).collect();
        let Some(number) = one_of(&numbers, step) else { return };
        let Some(case) = model.case(number) else { return };
        let (Some(id), owners, elsewhere) = (case.id.clone(), case.owners.clone(), case.elsewhere) else {
            return;
        };
        let holder = owners.iter().find(|key| model.is_alive(**key));
        let attempt = match holder {
            Some(key) => match model.owners.get(key).and_then(Owner::ask) {
                Some(ask) => Attempt::Told(tell(&ask, step, 0, &format!("detach {id}"))),
                // A process that knows nothing of its sandbox cannot let go of it.
                None => return,
            },
            None => Attempt::Run(self.command(elsewhere, ["adopt", "--json", &id, "--detach"]).spawn()),
        };
        if let Some(case) = model.case(number) {
            case.in_hands = true;
            case.detached = true;
        }
        drop(model);
        let answer = attempt.answer();
        self.note(&format!("{:>6} letting go of {id}: {answer:?}", step.number));
        if let Some(case) = self.model().case(number) {
            case.in_hands = false;
            match answer {
                Answer::Done => case.let_go(),
                Answer::Refused => case.detached = case.owners.is_empty(),
                Answer::Unclear => {}
            }
        }
    }

    /// Pauses or resumes one.
    pub(super) fn freeze<'s>(&'s self, step: &Step, verb: &'static str, scope: &'s Scope<'s, '_>) -> bool {
        let step = step.clone();
        self.beside(scope, move |world| world.freeze_now(&step, verb))
    }

    pub(super) fn freeze_now(&self, step: &Step, verb: &str) {
        let is = |case: &Case| case.init.is_some() && (verb == "pause" || case.paused);
        let Some((id, elsewhere)) = self.some_sandbox(step, is) else { return };
        for case in self.model().cases.iter_mut().filter(|case| case.id.as_ref() == Some(&id)) {
            case.paused = true;
        }
        drop(self.ebb(elsewhere, &[verb, &id]));
    }

    /// Asks the daemon for what leads to the step at which it is to die.
    pub(super) fn provoke(&self, step: &Step, point: &str) {
        match point.split('.').next().unwrap_or_default() {
            "create" => self.create_now(step, None),
            "pause" => self.freeze_now(step, "pause"),
            "resume" => self.freeze_now(step, "resume"),
            "adopt" => self.adopt_now(step),
            "detach" => self.detach_now(step),
            "keep" => {
                let mut model = self.model();
                let kept = |case: &&Case| case.policy.spares_orphan(case.adopted) && case.init.is_some();
                let owners: Vec<u64> =
                    model.cases.iter().filter(kept).flat_map(|case| case.owners.clone()).collect();
                let alive: Vec<u64> = owners.into_iter().filter(|owner| model.is_alive(*owner)).collect();
                if let Some(owner) = one_of(&alive, step) {
                    model.end(owner, Signal::KILL);
                }
            }
            "purge" => self.purge_now(step),
            _ => {
                let Some((id, elsewhere)) = self.some_sandbox(step, |case| case.init.is_some()) else {
                    return;
                };
                for case in self.model().cases.iter_mut().filter(|case| case.id.as_ref() == Some(&id)) {
                    case.may_end.insert("stopped");
                }
                drop(self.ebb(elsewhere, &["stop", "--grace", "0", &id]));
            }
        }
    }
}

/// Tells a program something; `which` tells the questions of a step apart.
fn tell(ask: &Ask, step: &Step, which: u64, words: &str) -> Receiver<String> {
    let number = step.number.wrapping_mul(1000).wrapping_add(which);
    ask.tell(usize::try_from(number).unwrap_or_default(), words)
}

enum Attempt {
    Told(Receiver<String>),
    Run(ebbtide_tests::Running),
}

impl Attempt {
    fn answer(self) -> Answer {
        match self {
            Self::Told(answer) => match answer.recv_timeout(LIMIT) {
                Ok(said) if said == "done" => Answer::Done,
                Ok(said) if said.starts_with("refused clearly") => Answer::Refused,
                _ => Answer::Unclear,
            },
            Self::Run(running) => Self::of(&running.wait()),
        }
    }

    fn of(output: &Output) -> Answer {
        let said = output.error();
        match output.code() {
            0 => Answer::Done,
            _ if ["_OWNED", "_NOT_FOUND", "_NOT_RUNNING"].iter().any(|reason| said.contains(reason)) => {
                Answer::Refused
            }
            _ => Answer::Unclear,
        }
    }
}
