//! The engine as the layers above see it.

use std::sync::Arc;

use ebbtide_driver::{Capacity, Driver};
use ebbtide_model::{PauseReason, Principal, SandboxRecord, SandboxSpec, StopOptions, TerminationReason};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{Span, field, info};

use crate::engine::{Engine, Found};
use crate::keep::{self, CleanUp};
use crate::lease;
use crate::lifecycle::{self, Begin};
use crate::metrics;
use crate::reconcile::{self, Reconciled};
use crate::sandbox::Ending;
use crate::{
    ControlConfig, ControlError, EventFilter, Events, ListFilter, ListPage, PurgeFilter, PurgeOutcome, list,
    pause, purge, sweep,
};

/// The life of every sandbox of one home. Cheap to clone; when the last clone is dropped the background tasks end
/// and the sandboxes live on.
#[derive(Clone)]
pub struct Control {
    handle: Arc<Handle>,
}

/// Ends the background tasks when the last [`Control`] goes.
struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.tasks.cancel();
    }
}

/// Who asks for an end, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Words for who it is, besides the principal: a process, a lease.
    pub by: Option<String>,
    /// For what.
    pub occasion: Occasion,
}

impl Asked {
    pub(crate) fn words(&self, principal: &Principal) -> String {
        match &self.by {
            Some(by) => format!("{principal}, {by}"),
            None => principal.to_string(),
        }
    }
}

/// For what an end is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Occasion {
    /// That it ends.
    #[default]
    Explicit,
    /// A session closes and cleans up what was in it.
    Session,
    /// The part of a program is over that it was made for.
    Scope,
    /// What it was made for has failed.
    Failure,
}

impl Occasion {
    fn clean_up(self) -> Option<CleanUp> {
        match self {
            Self::Explicit => None,
            Self::Session => Some(CleanUp::Session),
            Self::Scope => Some(CleanUp::Scope),
            Self::Failure => Some(CleanUp::Failure),
        }
    }
}

impl Control {
    /// Opens the ledger, reconciles it with what the driver has, and starts the background tasks.
    ///
    /// # Errors
    /// When the ledger cannot be used or the driver cannot say what it has.
    pub async fn open(config: ControlConfig, driver: Arc<dyn Driver>) -> Result<Self, ControlError> {
        let engine = Arc::new(Engine::open(config, driver).await?);
        let control = Self { handle: Arc::new(Handle { engine: Arc::clone(&engine) }) };
        lease::begin(&engine);
        let first = reconcile::pass(&engine).await?;
        engine.tasks.spawn(sweep::run(Arc::clone(&engine), reconcile::is_unfinished(&first)));
        engine.tasks.spawn(Arc::clone(&engine).write_marks());
        engine.tasks.spawn(Arc::clone(&engine).checkpoint());
        engine.tasks.spawn(Arc::clone(&engine).hand_on());
        engine.tasks.spawn(Arc::clone(&engine).follow_clocks());
        Ok(control)
    }

    /// Records the wish for a sandbox and returns; it is made in the background.
    ///
    /// A `request_id` that the same principal has used before, for the same spec, answers with the sandbox that it
    /// made then, also after its end, for as long as its record is kept. Empty for none.
    ///
    /// # Errors
    /// When the spec is invalid, the request id was used for another one, the daemon shuts down, or the ledger
    /// fails. Nothing is made then.
    pub async fn create(
        &self,
        principal: &Principal,
        spec: SandboxSpec,
        request_id: &str,
    ) -> Result<SandboxRecord, ControlError> {
        self.create_under(principal, spec, request_id, None).await
    }

    /// As [`Control::create`], of a sandbox that belongs to the lease that the token `lease` proves. It is born an
    /// orphan where the lease's owner has gone meanwhile.
    ///
    /// # Errors
    /// Also when the lease is not known.
    pub async fn create_under(
        &self,
        principal: &Principal,
        spec: SandboxSpec,
        request_id: &str,
        lease: Option<&str>,
    ) -> Result<SandboxRecord, ControlError> {
        let owner = lease.map(|token| self.engine().leases.by_token(principal, token));
        let owner = owner.map(|known| known.ok_or(ControlError::LeaseInvalid)).transpose()?;
        lifecycle::check(self.engine(), &spec, request_id).await?;
        let (record, made) = lifecycle::intent(self.engine(), principal, spec, request_id, owner)?;
        Span::current().record("sandbox", field::display(&record.id));
        info!(again = made.is_none(), "asked for");
        if let Some(sandbox) = made {
            lease::attend(self.engine(), &sandbox);
            self.engine().drive(&sandbox, Begin::Create { resumed: false });
        }
        Ok(self.shown(record))
    }

    /// Puts the ledger back where somebody has deleted, moved or replaced its files; answers whether that was so.
    ///
    /// # Errors
    /// When it cannot be written there. What is open of it is written to all the same.
    pub async fn keep_ledger_in_place(&self) -> Result<bool, ControlError> {
        if self.engine().store.is_in_place() {
            return Ok(false);
        }
        let engine = Arc::clone(self.engine());
        // It takes as long as all records take to write.
        let put_back = tokio::task::spawn_blocking(move || engine.store.put_back());
        put_back.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(true)
    }

    /// The record of one sandbox.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn get(&self, principal: &Principal, id: &str) -> Result<SandboxRecord, ControlError> {
        Ok(self.shown(self.engine().find(principal, id)?.record()))
    }

    /// The caller's sandboxes, a page at a time, by age.
    ///
    /// # Errors
    /// When the page token is none of ours, or the ledger fails.
    pub async fn list(&self, principal: &Principal, filter: ListFilter) -> Result<ListPage, ControlError> {
        let ListPage { records, next_page_token } = list::page(self.engine(), principal, &filter)?;
        let records = records.into_iter().map(|record| self.shown(record)).collect();
        Ok(ListPage { records, next_page_token })
    }

    /// Ends a sandbox. That it ends is recorded when this returns, and it goes on whatever becomes of the caller;
    /// [`Control::wait`] tells when it is over. One that ends already keeps the shorter grace period of the two,
    /// and one that has ended is no error.
    ///
    /// # Errors
    /// When the caller has none with this id, or the ledger fails.
    pub async fn stop(
        &self,
        principal: &Principal,
        id: &str,
        options: StopOptions,
    ) -> Result<SandboxRecord, ControlError> {
        self.stop_as(principal, id, options, Asked::default()).await
    }

    /// As [`Control::stop`], by somebody for some occasion. Where that is no explicit wish the sandbox may be kept by
    /// its policy: it is then answered as one that goes on.
    ///
    /// # Errors
    /// As [`Control::stop`]; and when the driver could not do what keeping it takes: it then goes on as before.
    pub async fn stop_as(
        &self,
        principal: &Principal,
        id: &str,
        options: StopOptions,
        asked: Asked,
    ) -> Result<SandboxRecord, ControlError> {
        let sandbox = match self.engine().find(principal, id)? {
            Found::Ended(record) => return Ok(self.shown(*record)),
            Found::Live(sandbox) => sandbox,
        };
        let clean_up = asked.occasion.clean_up();
        let reason = clean_up.map_or(TerminationReason::Stopped, CleanUp::reason);
        let by = Some(asked.words(principal));
        let ending = Ending { grace: options.grace, by, ..Ending::new(reason) };
        let record = match clean_up {
            Some(clean_up) => keep::clean_up(self.engine(), &sandbox, clean_up, ending).await?,
            None => {
                lifecycle::end(self.engine(), &sandbox, &ending).await?;
                info!("asked to end");
                sandbox.record()
            }
        };
        Ok(self.shown(record))
    }

    /// Freezes everything that runs in a sandbox; its deadlines go on. Waits for a sandbox that is still being made. One
    /// that is frozen already is no error.
    ///
    /// # Errors
    /// When the sandbox does not run, or the driver cannot freeze it: it then runs on.
    pub async fn pause(&self, principal: &Principal, id: &str) -> Result<SandboxRecord, ControlError> {
        let sandbox = self.made(self.engine().find(principal, id)?).await?;
        pause::pause(self.engine(), &sandbox, PauseReason::Asked).await.map(|record| self.shown(record))
    }

    /// Lets a sandbox go on that was frozen. One that runs is no error.
    ///
    /// # Errors
    /// When the sandbox does not run, or the driver cannot let it go on.
    pub async fn resume(&self, principal: &Principal, id: &str) -> Result<SandboxRecord, ControlError> {
        let sandbox = self.made(self.engine().find(principal, id)?).await?;
        pause::resume(self.engine(), &sandbox).await.map(|record| self.shown(record))
    }

    /// Ends the caller's sandboxes that `filter` names, at once, and waits until they are gone.
    ///
    /// # Errors
    /// When the filter names none; what fails for one sandbox is in the outcome.
    pub async fn purge(
        &self,
        principal: &Principal,
        filter: PurgeFilter,
        dry_run: bool,
        asked: &Asked,
    ) -> Result<PurgeOutcome, ControlError> {
        purge::purge(self.engine(), principal, &filter, dry_run, asked).await
    }

    /// Waits, without bound, until a sandbox has ended and everything of it is released. One that is kept after its main
    /// command's end is answered at once, unless it is about to end, too.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn wait(&self, principal: &Principal, id: &str) -> Result<SandboxRecord, ControlError> {
        match self.engine().find(principal, id)? {
            Found::Ended(record) => Ok(self.shown(*record)),
            Found::Live(sandbox) => {
                let mut changes = sandbox.changes();
                let mut closing = self.engine().tasks.cancelled();
                tokio::select! {
                    biased;
                    ended = changes.wait_for(SandboxRecord::is_over) => match ended {
                        Ok(record) => Ok(self.shown(record.clone())),
                        Err(_) => Err(ControlError::ShuttingDown),
                    },
                    // Nobody is left who could end it.
                    _ = closing.wait_for(|closing| *closing) => Err(ControlError::ShuttingDown),
                }
            }
        }
    }

    /// Ends every sandbox of every principal, then the driver with its helpers, then the background tasks.
    ///
    /// # Errors
    /// When something had not ended in time, or the driver could not shut down. It can be called again.
    pub async fn shutdown(&self) -> Result<(), ControlError> {
        purge::shutdown(self.engine()).await
    }

    /// Ends the background tasks and leaves every sandbox as it is, for the next daemon to adopt. Creates are
    /// refused from now on.
    pub async fn close(&self) {
        self.engine().refuse_creates();
        self.engine().tasks.close().await;
        self.engine().flush_marks();
    }

    /// The events of the caller's sandboxes, those that are kept and then those that come.
    pub fn events(&self, principal: &Principal, filter: EventFilter) -> Events {
        Events::new(self.engine().feeds.of(principal), filter)
    }

    /// Adds what is counted here to `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        metrics::register(self.engine(), registry);
    }

    /// What sandboxes run on, and how much of it is free now.
    ///
    /// # Errors
    /// When the driver cannot say.
    pub async fn capacity(&self) -> Result<Capacity, ControlError> {
        self.engine().ask("say what it has", self.engine().driver.capacity()).await
    }

    /// The number of sandboxes that have not ended.
    pub fn live(&self) -> watch::Receiver<usize> {
        self.engine().live_count()
    }

    /// Compares the ledger with what the driver has, now instead of with the next sweep.
    ///
    /// # Errors
    /// When the driver cannot say what it has, or the ledger fails.
    pub async fn reconcile(&self) -> Result<Vec<Reconciled>, ControlError> {
        reconcile::pass(self.engine()).await
    }

    /// A record with its times by the wall clock.
    pub(crate) fn shown(&self, record: SandboxRecord) -> SandboxRecord {
        self.engine().time.shown_record(record)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }
}
