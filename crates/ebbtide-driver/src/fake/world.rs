//! What would live in the kernel and on disk: the sandboxes, and what tests plant beside them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ebbtide_model::SandboxId;

use super::log::Log;
use super::sandbox::Sandbox;
use crate::{DeadMansSwitch, DestroyOutcome, DriverError, Existing, Leftover, Phase, Receipt, SandboxPlan};

/// A method of the driver that a test can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`crate::Driver::create`].
    Create,
    /// [`crate::Driver::exec`].
    Exec,
    /// Each of the four calls about files, from [`crate::Driver::open_read`] to [`crate::Driver::unpack`].
    Files,
    /// [`crate::Driver::stop`].
    Stop,
    /// [`crate::Driver::guard`].
    Guard,
    /// [`crate::Driver::pause`], [`crate::Driver::resume`] and [`crate::Driver::end_processes`].
    Pause,
    /// [`crate::Driver::main_ended`].
    MainEnded,
    /// [`crate::Driver::ended`].
    Ended,
    /// [`crate::Driver::destroy`].
    Destroy,
    /// [`crate::Driver::log`].
    Log,
    /// [`crate::Driver::forget`].
    Forget,
    /// [`crate::Driver::list`].
    List,
    /// [`crate::Driver::shutdown`].
    Shutdown,
}

/// What would live in the kernel. It outlives the driver that made it.
#[derive(Debug, Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sandboxes: BTreeMap<SandboxId, Arc<Sandbox>>,
    logs: BTreeMap<SandboxId, Arc<Log>>,
    leftovers: BTreeSet<Leftover>,
    failures: HashMap<Call, VecDeque<DriverError>>,
    create_delay: Duration,
}

impl World {
    /// Kills the init of a sandbox, as an outsider would. A sandbox that is not there is no error.
    pub fn kill_init(&self, id: &SandboxId) {
        if let Ok(sandbox) = self.find(id) {
            sandbox.kill_init();
        }
    }

    /// How many processes run in a sandbox.
    pub fn processes(&self, id: &SandboxId) -> usize {
        self.find(id).map_or(0, |sandbox| sandbox.processes.count())
    }

    /// What a sandbox was made from.
    pub fn plan(&self, id: &SandboxId) -> Option<SandboxPlan> {
        Some(self.find(id).ok()?.plan.clone())
    }

    /// What ends a sandbox at the moment besides its lifetime.
    pub fn switch(&self, id: &SandboxId) -> Option<DeadMansSwitch> {
        Some(self.find(id).ok()?.switch())
    }

    /// Drops the oldest records of a sandbox's log, as one does that has come to its bound.
    pub fn drop_log_records(&self, id: &SandboxId, records: usize) {
        self.log(id).drop_oldest(records);
    }

    /// Whether anything is kept of a sandbox's output.
    pub fn keeps_log(&self, id: &SandboxId) -> bool {
        self.state().logs.contains_key(id)
    }

    /// Leaves something behind that belongs to no sandbox.
    pub fn plant_leftover(&self, leftover: Leftover) {
        self.state().leftovers.insert(leftover);
    }

    /// Takes away what was planted.
    pub fn clear_leftovers(&self) {
        self.state().leftovers.clear();
    }

    /// Makes the next calls of this method fail: one call for each error, in order.
    pub fn fail_next(&self, call: Call, error: DriverError) {
        self.state().failures.entry(call).or_default().push_back(error);
    }

    /// Makes every create take this long between making the sandbox and starting its main command.
    pub fn delay_creates(&self, delay: Duration) {
        self.state().create_delay = delay;
    }

    /// Leaves a sandbox half made, as a create does that was cut off by a crash.
    pub fn plant_half_made(&self, plan: SandboxPlan) {
        self.made(plan);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn called(&self, call: Call) -> Result<(), DriverError> {
        match self.state().failures.get_mut(&call).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) fn find(&self, id: &SandboxId) -> Result<Arc<Sandbox>, DriverError> {
        self.state().sandboxes.get(id).map(Arc::clone).ok_or_else(|| DriverError::NotFound(id.clone()))
    }

    /// The log of a sandbox; one of its own, which nobody else sees, if it has none.
    pub(super) fn log(&self, id: &SandboxId) -> Arc<Log> {
        self.state().logs.get(id).map(Arc::clone).unwrap_or_default()
    }

    pub(super) fn forget_log(&self, id: &SandboxId) {
        self.state().logs.remove(id);
    }

    fn made(&self, plan: SandboxPlan) -> Arc<Sandbox> {
        let id = plan.id.clone();
        let mut state = self.state();
        if let Some(sandbox) = state.sandboxes.get(&id) {
            return Arc::clone(sandbox);
        }
        let log = Arc::<Log>::default();
        if !plan.main.argv.is_empty() {
            state.logs.insert(id.clone(), Arc::clone(&log));
        }
        let sandbox = Sandbox::made(plan, log);
        state.sandboxes.insert(id, Arc::clone(&sandbox));
        sandbox
    }

    /// `handle` lives as long as the driver that asks.
    pub(super) async fn create(&self, plan: SandboxPlan, handle: Weak<()>) -> Result<(), DriverError> {
        let id = plan.id.clone();
        let sandbox = self.made(plan.clone());
        let _one_at_a_time = sandbox.exclusive().await;
        if sandbox.phase() != Phase::Made {
            if let DeadMansSwitch::Daemon { .. } = plan.switch {
                // One that has ended meanwhile is nobody's to attend to.
                let _ = sandbox.guard(plan.switch, handle);
            }
            return Ok(());
        }
        let delay = self.state().create_delay;
        tokio::time::sleep(delay).await;
        sandbox.start(handle).inspect_err(|_| {
            self.state().sandboxes.remove(&id);
        })
    }

    pub(super) async fn destroy(
        &self,
        id: &SandboxId,
        start: Instant,
    ) -> Result<DestroyOutcome, DriverError> {
        let Ok(sandbox) = self.find(id) else { return Ok(DestroyOutcome::AlreadyGone) };
        let _one_at_a_time = sandbox.exclusive().await;
        let alive = sandbox.alive();
        let report = sandbox.end().await;
        let bytes = sandbox.files().values().map(|content| content.len() as u64).sum();
        if self.state().sandboxes.remove(id).is_none() {
            return Ok(DestroyOutcome::AlreadyGone);
        }
        let took = start.elapsed();
        let receipt = Receipt {
            released: vec![("processes".to_owned(), alive)],
            bytes,
            steps: vec![("processes".to_owned(), took)],
            took,
            left: Vec::new(),
        };
        Ok(DestroyOutcome::Destroyed { receipt, report })
    }

    pub(super) fn list(&self) -> Vec<Existing> {
        let state = self.state();
        let existing =
            |(id, sandbox): (&SandboxId, &Arc<Sandbox>)| Existing { id: id.clone(), phase: sandbox.phase() };
        state.sandboxes.iter().map(existing).collect()
    }

    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        self.state().leftovers.iter().cloned().collect()
    }
}
