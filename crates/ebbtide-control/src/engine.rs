//! What every part of the engine works on: the ledger, the driver, and the sandboxes that have not ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ebbtide_driver::{Capacity, Driver, DriverError};
use ebbtide_model::{Principal, SandboxId, SandboxRecord, State};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tracing::{Instrument as _, Span, error_span, field};

use crate::events::Feeds;
use crate::failpoint::fail_point;
use crate::ids::Ids;
use crate::lease::Leases;
use crate::lifecycle::{self, Begin};
use crate::metrics::Metrics;
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::time::{self, Time};
use crate::{ControlConfig, ControlError};

/// The sandboxes that have not ended, by age.
pub(crate) type Live = BTreeMap<SandboxId, Arc<Sandbox>>;

/// How many sandboxes are destroyed at the same time.
const CONCURRENT_DESTROYS: usize = 16;

pub(crate) struct Engine {
    pub(crate) config: ControlConfig,
    pub(crate) driver: Arc<dyn Driver>,
    /// What there is in all. What of it is free has changed since.
    pub(crate) capacity: Capacity,
    pub(crate) store: Store,
    pub(crate) time: Arc<Time>,
    pub(crate) ids: Ids,
    pub(crate) creates: Semaphore,
    pub(crate) destroys: Semaphore,
    pub(crate) tasks: Tasks,
    pub(crate) feeds: Feeds,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leases: Leases,
    /// Held by the reconcile that is going on.
    pub(crate) reconciling: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
    live_count: watch::Sender<usize>,
    shutting_down: AtomicBool,
    started: Mutex<Vec<Arc<Sandbox>>>,
    mark: Notify,
}

impl Engine {
    pub(crate) async fn open(config: ControlConfig, driver: Arc<dyn Driver>) -> Result<Self, ControlError> {
        let bound = config.timing.driver_call;
        let capacity = within(bound, "say what it has", driver.capacity()).await?;
        let store = Store::open(&config.ledger)?;
        let metrics = Arc::new(Metrics::new());
        let epoch = store.epoch(&config.boot_id, time::epoch(config.clocks.as_ref()))?;
        let time = Arc::new(Time::new(Arc::clone(&config.clocks), &config.boot_id, epoch));
        let feeds = Feeds::new(config.event_buffer, Arc::clone(&time), Arc::clone(&metrics));
        let live: Live = store
            .live()?
            .into_iter()
            .map(|stored| (stored.record.id.clone(), Sandbox::new(stored, &feeds, &time)))
            .collect();
        let ids = Ids::after(store.newest()?.as_ref());
        let leases = Leases::open(&store, &config.boot_id)?;
        Ok(Self {
            creates: Semaphore::new(config.max_concurrent_creates.max(1)),
            destroys: Semaphore::new(CONCURRENT_DESTROYS),
            tasks: Tasks::new(),
            feeds,
            metrics,
            leases,
            reconciling: tokio::sync::Mutex::new(()),
            live_count: watch::Sender::new(live.len()),
            live: Mutex::new(live),
            shutting_down: AtomicBool::new(false),
            started: Mutex::default(),
            mark: Notify::new(),
            config,
            driver,
            capacity,
            store,
            time,
            ids,
        })
    }

    /// The sandboxes that have not ended. An intent is recorded and a tombstone's sandbox removed under this lock.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them that `wanted` says yes to.
    pub(crate) fn select(&self, wanted: impl Fn(&SandboxRecord) -> bool) -> Vec<Arc<Sandbox>> {
        self.live().values().filter(|sandbox| sandbox.peek(&wanted)).map(Arc::clone).collect()
    }

    pub(crate) fn live_count(&self) -> watch::Receiver<usize> {
        self.live_count.subscribe()
    }

    /// Tells whoever counts; called with the lock on the sandboxes held.
    pub(crate) fn count(&self, live: &Live) {
        self.live_count.send_replace(live.len());
    }

    /// Forgets a sandbox that has its tombstone; from now on the ledger answers for it.
    pub(crate) fn forget(&self, id: &SandboxId) {
        let mut live = self.live();
        live.remove(id);
        self.count(&live);
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// Refuses creates from now on. Under the lock, so that none is admitted afterwards.
    pub(crate) fn refuse_creates(&self) {
        let _live = self.live();
        self.shutting_down.store(true, Ordering::Release);
    }

    /// Takes a sandbox through (the rest of) its life, in a task of its own: never in the context of a request.
    pub(crate) fn drive(self: &Arc<Self>, sandbox: &Arc<Sandbox>, begin: Begin) {
        if let Some(driven) = sandbox.drive() {
            let (engine, sandbox) = (Arc::clone(self), Arc::clone(sandbox));
            // Not within the span of whoever asked: it outlives that by far.
            let span = error_span!(parent: None, "life", sandbox = %sandbox.id);
            let life = async move {
                let _driven = driven;
                lifecycle::drive(&engine, &sandbox, begin).await;
            };
            self.tasks.spawn(life.instrument(span));
        }
    }

    /// The driver's answer, within the bound that every call but a create and a wait for an end has.
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, ControlError> {
        self.ask_within(self.config.timing.driver_call, what, call).await
    }

    pub(crate) async fn ask_within<T>(
        &self,
        bound: Duration,
        what: &'static str,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, ControlError> {
        within(bound, what, call).await
    }

    /// One of the caller's sandboxes, whether it has ended or not.
    pub(crate) fn find(&self, principal: &Principal, id: &str) -> Result<Found, ControlError> {
        let unknown = || ControlError::NotFound { id: id.chars().take(64).collect() };
        let known: SandboxId = id.parse().map_err(|_| unknown())?;
        // The ledger is asked with the lock released, so a sandbox can end between the two questions: it is then in
        // the ledger as ended. It cannot begin between them, as nobody knows its id before it is among the live.
        let live = self.live().get(&known).map(Arc::clone);
        let found = match live {
            Some(sandbox) => Found::Live(sandbox),
            None => Found::Ended(Box::new(self.store.get(&known)?.ok_or_else(unknown)?)),
        };
        let own = match &found {
            Found::Live(sandbox) => sandbox.peek(|record| record.principal == *principal),
            Found::Ended(record) => record.principal == *principal,
        };
        if !own {
            return Err(unknown());
        }
        // For every line that is logged about the request.
        Span::current().record("sandbox", field::display(&known));
        Ok(found)
    }

    /// Asks for the durable mark that `sandbox` runs, within [`crate::Timing::mark`].
    pub(crate) fn mark_soon(&self, sandbox: &Arc<Sandbox>) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(sandbox));
        self.mark.notify_one();
    }

    /// Writes the marks, many at once, for as long as the engine lives.
    pub(crate) async fn write_marks(self: Arc<Self>) {
        loop {
            self.mark.notified().await;
            tokio::time::sleep(self.config.timing.mark).await;
            self.flush_marks();
        }
    }

    /// Follows the clocks of the machine, for as long as the engine lives.
    pub(crate) async fn follow_clocks(self: Arc<Self>) {
        let record = || {
            tracing::info!("the wall clock was set");
            if let Err(error) = self.store.wall_clock_set(self.time.shown_epoch()) {
                tracing::warn!(%error, "after a restart of the machine, times are shown as they were before that");
            }
        };
        let mut backoff = lifecycle::Backoff::new(&self.config.timing);
        while let Err(error) = self.time.watch(&record).await {
            tracing::warn!(%error, "cannot watch the clocks of the machine; trying again");
            backoff.pause().await;
        }
    }

    /// Moves the ledger's log on when it has grown, for as long as the engine lives.
    pub(crate) async fn checkpoint(self: Arc<Self>) {
        loop {
            self.store.checkpoint_due().await;
            self.off_the_way(Store::checkpoint, "trying again later").await;
        }
    }

    /// Hands what was committed on to the disk, for as long as the engine lives.
    pub(crate) async fn hand_on(self: Arc<Self>) {
        loop {
            self.store.hand_on_due().await;
            tokio::time::sleep(self.config.timing.hand_on).await;
            self.off_the_way(Store::hand_on, "flush the ledger; trying again with the next commit").await;
        }
    }

    /// Has the ledger do what waits for the disk, on a thread for that; where it fails, says so with `otherwise`.
    async fn off_the_way<E>(self: &Arc<Self>, work: fn(&Store) -> Result<(), E>, otherwise: &'static str)
    where
        E: std::error::Error + Send + 'static,
    {
        let engine = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&engine.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "{otherwise}"),
            Err(error) => tracing::warn!(%error, "{otherwise}"),
        }
    }

    /// Writes the marks that are asked for now.
    pub(crate) fn flush_marks(&self) {
        let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
        let (sandboxes, records): (Vec<_>, Vec<_>) = started
            .into_iter()
            .map(|sandbox| (sandbox.record(), sandbox))
            .filter(|(record, _)| record.state == State::Running)
            .map(|(record, sandbox)| (sandbox, record))
            .unzip();
        if records.is_empty() {
            return;
        }
        fail_point!("create.mark.before");
        if let Err(error) = self.store.mark_running(&records) {
            tracing::warn!(%error, "cannot mark sandboxes as running; trying again with the next ones");
            self.started.lock().unwrap_or_else(PoisonError::into_inner).extend(sandboxes);
        }
        fail_point!("create.mark.after");
    }
}

/// The driver's answer, within `bound`.
async fn within<T>(
    bound: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, ControlError> {
    match timeout(bound, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ControlError::DriverTimeout { what, seconds: bound.as_secs() }),
    }
}

/// One of the caller's sandboxes.
pub(crate) enum Found {
    Live(Arc<Sandbox>),
    Ended(Box<SandboxRecord>),
}

impl Found {
    pub(crate) fn record(self) -> SandboxRecord {
        match self {
            Self::Live(sandbox) => sandbox.record(),
            Self::Ended(record) => *record,
        }
    }
}
