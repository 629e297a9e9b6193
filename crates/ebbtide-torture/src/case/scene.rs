//! One case on its way: its owners, its directory, and what has been found so far.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::IDLE;
use crate::host::{Found, Hierarchies, Scope, Table};
use crate::owner::Owner;
use crate::target::Target;

/// Between two looks at the host.
const PAUSE: Duration = Duration::from_millis(20);

/// The name of an owner, which no other has.
fn name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("torture-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A case on its way.
pub(crate) struct Scene<'a> {
    pub(crate) target: &'a Target,
    /// The target's.
    pub(crate) directory: PathBuf,
    /// How long to wait until everything is gone.
    pub(crate) grace: Duration,
    /// How long to watch what must live on.
    pub(crate) hold: Duration,
    /// How many sandboxes to churn.
    pub(crate) churn: usize,
    pub(crate) interrupted: &'a AtomicBool,
    /// The owners to which something happens.
    pub(crate) owners: Vec<Owner>,
    /// The owner to which nothing happens.
    pub(crate) bystander: Option<Owner>,
    pub(crate) scope: Scope,
    /// The cgroups that were there before.
    pub(crate) cgroups_before: BTreeSet<PathBuf>,
    pub(crate) lost: Vec<String>,
    pub(crate) errors: Vec<String>,
    /// The target has nothing that this case could be done to.
    pub(crate) not_applicable: bool,
}

impl Scene<'_> {
    /// Whether somebody wants the suite to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The target did what it should not.
    pub(crate) fn error(&mut self, words: String) {
        self.errors.push(words);
    }

    /// Makes an owner with its sandbox.
    pub(crate) fn make_owner(&mut self, payload: &str, forks: bool) -> Option<Owner> {
        match Owner::start(self.target, &self.directory, &name(), payload, forks) {
            Ok(owner) => {
                self.note_cgroups(&Table::read());
                Some(owner)
            }
            Err(problem) => {
                self.error(format!("create: {problem}"));
                None
            }
        }
    }

    /// Makes one to which something will happen, and does not wait for its sandbox.
    pub(crate) fn start_early_owner(&mut self) {
        match Owner::start_early(self.target, &self.directory, &name(), IDLE) {
            Ok(owner) => self.owners.push(owner),
            Err(problem) => self.error(format!("create: {problem}")),
        }
    }

    /// Makes one to which something will happen; its place among them.
    pub(crate) fn start_owner(&mut self, payload: &str, forks: bool) -> Option<usize> {
        let owner = self.make_owner(payload, forks)?;
        self.owners.push(owner);
        Some(self.owners.len() - 1)
    }

    /// The processes by which the target keeps its sandboxes.
    pub(crate) fn helpers(&mut self) -> Option<Vec<u32>> {
        let answer = self.target.call(&self.directory, "helpers", &[]);
        let pids: Vec<u32> = answer.lines().filter_map(|line| line.parse().ok()).collect();
        self.not_applicable = pids.is_empty();
        (!pids.is_empty()).then_some(pids)
    }

    /// Stops the sandboxes of these owners, all at once and each by so many callers; looks meanwhile.
    pub(crate) fn stop(&mut self, owners: std::ops::Range<usize>, callers: usize) {
        let (target, directory) = (self.target, self.directory.clone());
        let names: Vec<String> =
            self.owners[owners.clone()].iter().map(|owner| owner.sandbox.clone()).collect();
        self.owners[owners].iter_mut().for_each(Owner::event);
        let failures: Vec<String> = thread::scope(|scope| {
            let each = names.iter().flat_map(|name| std::iter::repeat_n(name, callers));
            let calls: Vec<_> = each
                .map(|name| {
                    let call = || target.call(&directory, "stop", &[name]).failure();
                    (name, scope.spawn(call))
                })
                .collect();
            while calls.iter().any(|(_, call)| !call.is_finished()) {
                self.look();
                thread::sleep(PAUSE);
            }
            let failed = calls.into_iter().filter_map(|(name, call)| Some((name, call.join().ok()??)));
            failed.map(|(name, failure)| format!("stop {name}: {failure}")).collect()
        });
        self.errors.extend(failures);
    }

    /// Stops the sandboxes of all of them.
    pub(crate) fn stop_all(&mut self) {
        self.stop(0..self.owners.len(), 1);
    }

    /// Watches the sandboxes, which must live on for a while although `what` happened.
    pub(crate) fn must_live_on(&mut self, what: &str) {
        let until = Instant::now() + self.hold;
        while Instant::now() < until && !self.is_interrupted() {
            thread::sleep(PAUSE);
        }
        let table = Table::read();
        self.note_cgroups(&table);
        for owner in self.owners.iter().filter(|owner| !owner.trace.is_alive(&table)) {
            self.lost.push(format!("{}: {what}", owner.sandbox));
        }
    }

    /// Looks until nothing is left of the sandboxes that are to go, or the grace is over.
    pub(crate) fn await_release(&mut self) {
        let until = Instant::now() + self.grace;
        while !self.look() && Instant::now() < until && !self.is_interrupted() {
            thread::sleep(PAUSE);
        }
    }

    /// Looks until the grace is over: something may come yet.
    pub(crate) fn await_grace(&mut self) {
        let until = Instant::now() + self.grace;
        while Instant::now() < until && !self.is_interrupted() {
            self.look();
            thread::sleep(PAUSE);
        }
    }

    /// Looks once. Whether nothing is left of the sandboxes that are to go.
    fn look(&mut self) -> bool {
        let table = Table::read();
        self.note_cgroups(&table);
        let owners = self.owners.iter_mut().chain(&mut self.bystander);
        owners.filter_map(|owner| (!owner.look(&table)).then_some(())).count() == 0
    }

    /// The bystander must have come to no harm. Then it ends as well.
    pub(crate) fn dismiss_bystander(&mut self) {
        let Some(mut bystander) = self.bystander.take() else { return };
        if !bystander.trace.is_alive(&Table::read()) {
            self.lost.push(format!("{}: a bystander, to whose owner nothing happened", bystander.sandbox));
        }
        bystander.leave();
        self.bystander = Some(bystander);
        self.await_release();
    }

    /// What is left of the sandboxes that were to go.
    pub(crate) fn remains(&self) -> Vec<Found> {
        let table = Table::read();
        self.owners.iter().chain(&self.bystander).flat_map(|owner| owner.remains(&table)).collect()
    }

    /// Remembers in which new cgroups the target's processes are: those of the suite are not the target's.
    fn note_cgroups(&mut self, table: &Table) {
        let hierarchies = Hierarchies::read();
        let owners = self.owners.iter().chain(&self.bystander);
        let mut pids = table.descendants(std::process::id());
        pids.extend(owners.flat_map(|owner| owner.trace.payload(table)));
        let seen = pids.into_iter().flat_map(|pid| hierarchies.of(pid));
        self.scope.cgroups.extend(seen.filter(|path| !self.cgroups_before.contains(path)));
    }
}
