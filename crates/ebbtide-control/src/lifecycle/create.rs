//! From the wish for a sandbox to one that runs.

use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::{Capacity, DriverError, SandboxPlan};
use ebbtide_model::{
    Amounts, ErrorReason, Holder, Invalid, OwnerProcess, Ownership, Policy, Principal, Quantity, Resources,
    SandboxRecord, SandboxSpec, State, TerminationReason,
};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::{Backoff, command, must_end, prepare};
use crate::engine::Engine;
use crate::events::EventKind;
use crate::failpoint::fail_point;
use crate::images::{ImageRequest, PreparedImage};
use crate::lease::{self, Presence};
use crate::metrics::{Queue, Step};
use crate::sandbox::{Ending, Sandbox};
use crate::store::Stored;
use crate::{ControlError, keep};

/// How often a create is repeated while the driver's helper cannot be reached.
const ATTEMPTS: usize = 5;
/// A create of this age may have outlived its owner; a younger one leaves that to its init.
const LONG_AGO: Duration = Duration::from_secs(1);

/// Judges a request before anything is recorded.
pub(crate) async fn check(engine: &Engine, spec: &SandboxSpec, request_id: &str) -> Result<(), ControlError> {
    let config = &engine.config;
    if request_id.len() > config.limits.max_name_bytes {
        let problem = format!("has {} bytes", request_id.len());
        let accepted = format!("at most {} bytes", config.limits.max_name_bytes);
        return Err(Invalid::new("request_id", problem, accepted).into());
    }
    spec.validate(&config.limits)?;
    spec.resources.effective(config.default_resources)?;
    within_capacity(&spec.resources, &engine.capacity)?;
    Ok(config.images.check(&ImageRequest::of(spec)).await?)
}

/// Step *intent*: the record of a new sandbox, in the ledger before anything is made. A request id that was used
/// for the same spec before answers with the sandbox that it made.
pub(crate) fn intent(
    engine: &Arc<Engine>,
    principal: &Principal,
    spec: SandboxSpec,
    request_id: &str,
    owner: Option<(Holder, Presence)>,
) -> Result<(SandboxRecord, Option<Arc<Sandbox>>), ControlError> {
    let record = new_record(engine, principal, spec, request_id, owner)?;
    // Under the lock, so that a repetition finds the sandbox among the live ones as soon as the ledger has it.
    let mut live = engine.live();
    let earlier = if engine.is_shutting_down() {
        let earlier = engine.store.by_request_id(principal, request_id)?;
        Some(earlier.ok_or(ControlError::ShuttingDown)?)
    } else {
        fail_point!("create.intent.before");
        let earlier = engine.store.record_intent(&record)?;
        fail_point!("create.intent.after");
        earlier
    };
    let Some(Stored { record: earlier, .. }) = earlier else {
        let sandbox =
            Sandbox::new(Stored { record: record.clone(), kill_at: None }, &engine.feeds, &engine.time);
        sandbox.tell(EventKind::Created, "");
        live.insert(record.id.clone(), Arc::clone(&sandbox));
        engine.count(&live);
        return Ok((record, Some(sandbox)));
    };
    if !asks_for_the_same(&earlier.spec, &record.spec) {
        return Err(ControlError::RequestIdConflict { request_id: request_id.to_owned() });
    }
    let current = live.get(&earlier.id).map(|sandbox| sandbox.record());
    Ok((current.unwrap_or(earlier), None))
}

/// Whether two requests with one id are the same. Of a sandbox that was kept the values of its environment are forgotten.
fn asks_for_the_same(earlier: &SandboxSpec, spec: &SandboxSpec) -> bool {
    let mut spec = spec.clone();
    if earlier.main.env.values().all(String::is_empty) {
        spec.main.env.values_mut().for_each(String::clear);
    }
    *earlier == spec
}

fn new_record(
    engine: &Engine,
    principal: &Principal,
    spec: SandboxSpec,
    request_id: &str,
    owner: Option<(Holder, Presence)>,
) -> Result<SandboxRecord, ControlError> {
    let config = &engine.config;
    let policy = Policy::from_annotations(&spec.annotations, &config.limits)?;
    let created_at = engine.time.now();
    let process = OwnerProcess::from_annotations(&spec.annotations)?;
    let ownership = match (owner, process) {
        _ if policy.detach => Ownership::Detached,
        (Some((by, Presence::Here { .. })), _) => Ownership::made_by(by, created_at),
        // Its owner went while the request was on its way.
        (Some((by, Presence::Away { why, .. })), _) => {
            let (since, until) = (created_at, created_at + policy.orphan_grace);
            Ownership::Orphaned { by, adopted: false, why, since, until }
        }
        (None, Some(process)) => Ownership::made_by(Holder::process(process), created_at),
        (None, None) => Ownership::Unowned,
    };
    let owned = ownership.holder().is_some();
    Ok(SandboxRecord {
        id: engine.ids.next(created_at),
        principal: principal.clone(),
        deadline: created_at + spec.lifetime(owned, &config.limits),
        spec,
        ownership,
        policy,
        state: State::Pending,
        paused: None,
        reason: None,
        message: String::new(),
        exit_code: None,
        main_end: None,
        created_at,
        started_at: None,
        ended_at: None,
        boot_id: config.boot_id.clone(),
        made_of: None,
        ended_by: None,
        receipt: None,
        request_id: request_id.to_owned(),
    })
}

/// Whether this machine could ever set aside what is asked for. A limit may be higher; one alone is a request too.
fn within_capacity(asked: &Resources, there_is: &Capacity) -> Result<(), ControlError> {
    let side = |of: fn(&Amounts) -> Option<&Quantity>| match of(&asked.requests) {
        Some(request) => Some(("requests", request)),
        None => of(&asked.limits).map(|limit| ("limits", limit)),
    };
    let above = |side: &str, name: &str, asked: &Quantity, available: String| {
        let field = format!("resources.{side}.{name}");
        Err(ControlError::AboveCapacity { field, asked: asked.to_string(), available })
    };
    if let Some((side, cpu)) = side(|amounts| amounts.cpu.as_ref())
        && cpu.milli() > Some(there_is.cpu_milli)
    {
        return above(side, "cpu", cpu, format!("{}m", there_is.cpu_milli));
    }
    if let Some((side, memory)) = side(|amounts| amounts.memory.as_ref())
        && memory.units() > Some(there_is.memory_bytes)
    {
        return above(side, "memory", memory, format!("{} bytes", there_is.memory_bytes));
    }
    Ok(())
}

/// The steps from *prepare* to *running*. What fails becomes an ending; the caller goes on to it.
pub(super) async fn run(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, resumed: bool) {
    if let Err(ending) = steps(engine, sandbox, resumed).await {
        tracing::info!(reason = %ending.reason, "not made");
        must_end(engine, sandbox, &ending);
    }
}

async fn steps(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, resumed: bool) -> Result<(), Ending> {
    // Held until the sandbox holds it itself.
    let Some(image) = prepare::run(engine, sandbox).await? else { return Ok(()) };
    fail_point!("create.prepare.after");
    let Some(_permit) = admit(engine, sandbox).await? else { return Ok(()) };
    fail_point!("create.admit.after");
    let plan = resolve(engine, sandbox, &image, resumed)?;
    fail_point!("create.resolve.after");
    make(engine, sandbox, &plan).await?;
    sandbox.started(engine.time.now());
    engine.mark_soon(sandbox);
    lease::made(engine, sandbox, plan.switch);
    fail_point!("create.running.after");
    Ok(())
}

/// Step *admit*: waits for its turn, no longer than its lifetime; `None` if it was ended before that.
async fn admit<'a>(engine: &'a Engine, sandbox: &Sandbox) -> Result<Option<SemaphorePermit<'a>>, Ending> {
    let mut changes = sandbox.changes();
    let (_waiting, begun) = (engine.metrics.wait_in(Queue::Create), Instant::now());
    tokio::select! {
        biased;
        _ = changes.wait_for(|record| record.state == State::Terminating) => Ok(None),
        permit = engine.creates.acquire() => {
            engine.metrics.took(Step::Queue, begun);
            sandbox.claimed();
            Ok(permit.ok())
        }
        () = sandbox.expired() => Err(expired()),
    }
}

/// Step *resolve*: what exactly is to be made. A create that a crash interrupted, or whose image took its time, may have
/// lost its sense meanwhile.
fn resolve(
    engine: &Engine,
    sandbox: &Sandbox,
    image: &PreparedImage,
    resumed: bool,
) -> Result<SandboxPlan, Ending> {
    let record = sandbox.record();
    let lifetime = engine.time.left(record.deadline);
    if lifetime.is_zero() {
        return Err(expired());
    }
    let waited = engine.time.now().duration_since(record.created_at).is_ok_and(|age| age > LONG_AGO);
    let owner = record.ownership.holder().and_then(|holder| holder.process);
    if (resumed || waited) && owner.is_some_and(|owner| engine.config.owners.is_gone(owner)) {
        return Err(
            Ending::new(TerminationReason::OwnerGone).with_message("its owner died before it was made")
        );
    }
    let resources = record
        .spec
        .resources
        .effective(engine.config.default_resources)
        .map_err(|invalid| failed(&invalid))?;
    let switch = lease::switch(&record, &engine.config.limits);
    let at_main_end = keep::main_end_wish(&record);
    Ok(SandboxPlan {
        id: record.id,
        image: image.root.clone(),
        main: command::main(&record.spec, &image.defaults, &image.root),
        user: image.defaults.user.clone(),
        stop_signal: image.defaults.stop_signal,
        files: record.spec.mounted_files,
        resources,
        lifetime,
        switch,
        at_main_end,
    })
}

/// Step *driver*: makes it. Repeated while the driver's helper is being replaced, which is no fault of the sandbox.
///
/// Not cut short when the sandbox is to end meanwhile: a destroy beside a create that still goes on could miss
/// what that makes afterwards.
async fn make(engine: &Engine, sandbox: &Sandbox, plan: &SandboxPlan) -> Result<(), Ending> {
    let timing = &engine.config.timing;
    let deadline = Instant::now() + timing.create;
    let mut backoff = Backoff::new(timing);
    let mut attempt = 1;
    let begun = Instant::now();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        fail_point!("create.driver.before");
        let made = engine.ask_within(left, "make the sandbox", engine.driver.create(plan)).await;
        fail_point!("create.driver.after");
        match made {
            Ok(()) => {
                engine.metrics.took(Step::Create, begun);
                return Ok(());
            }
            Err(ControlError::Driver(DriverError::Unavailable(why)))
                if attempt < ATTEMPTS && sandbox.state() == State::Creating =>
            {
                tracing::warn!(why, attempt, "create: the runtime is away; trying again");
                attempt += 1;
                backoff.wait(&sandbox.retry).await;
            }
            Err(error) => {
                // What the caller did wrong is the caller's to know; what the host did is the operator's.
                if error.reason() != ErrorReason::InvalidRequest {
                    tracing::warn!(%error, "cannot make it");
                }
                return Err(failed(&error));
            }
        }
    }
}

fn failed(error: &dyn std::error::Error) -> Ending {
    Ending::new(TerminationReason::CreateFailed).with_message(error.to_string())
}

fn expired() -> Ending {
    Ending::new(TerminationReason::LifetimeExpired).with_message("its lifetime was over before it was made")
}
