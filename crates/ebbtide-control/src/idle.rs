//! Whether a sandbox is used, and what becomes of one that is not.
//!
//! Use is a command that runs by exec, or a file that is copied; each counts from its call to the drop of what the call
//! answered with. Who only reads a log does not use a sandbox. A main command counts as use for as long as it runs, since
//! nothing else can tell whether it works; except for the two that are customary for doing nothing.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use ebbtide_driver::{Content, DriverError, ExecEvent, ExecEvents, Sink};
use ebbtide_model::{OnIdle, Ownership, PauseReason, SandboxRecord, State, TerminationReason};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::engine::Engine;
use crate::keep::{self, CleanUp};
use crate::sandbox::{Ending, Sandbox};
use crate::{ControlError, pause};

/// Main commands that only hold a sandbox open.
const WAITING: [&[&str]; 2] = [&["tail", "-f", "/dev/null"], &["sleep", "infinity"]];

/// What is known of the use of a sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uses {
    /// How much of it there is now.
    pub(crate) active: u32,
    /// The last moment at which something made it wait anew.
    pub(crate) since: Instant,
    /// When it was last used, by this daemon's knowledge.
    pub(crate) last: Option<SystemTime>,
}

impl Uses {
    pub(crate) fn none() -> watch::Sender<Self> {
        watch::Sender::new(Self { active: 0, since: Instant::now(), last: None })
    }
}

/// Held for as long as a sandbox is used.
pub(crate) struct Use(Arc<Sandbox>);

impl Use {
    pub(crate) fn begin(sandbox: &Arc<Sandbox>) -> Self {
        sandbox.uses.send_modify(|uses| {
            uses.active += 1;
            uses.last = Some(sandbox.time.now());
        });
        Self(Arc::clone(sandbox))
    }

    /// Lasts as long as `inner` does.
    pub(crate) fn held_by<T>(self, inner: T) -> Held<T> {
        Held { inner, _use: self }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.uses.send_modify(|uses| {
            uses.active -= 1;
            uses.since = Instant::now();
            uses.last = Some(self.0.time.now());
        });
    }
}

/// Something whose life is use of a sandbox.
pub(crate) struct Held<T> {
    inner: T,
    _use: Use,
}

#[async_trait]
impl ExecEvents for Held<Box<dyn ExecEvents>> {
    async fn next(&mut self) -> Result<ExecEvent, DriverError> {
        self.inner.next().await
    }
}

#[async_trait]
impl Content for Held<Box<dyn Content>> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        self.inner.next().await
    }
}

#[async_trait]
impl Sink for Held<Box<dyn Sink>> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        self.inner.write(bytes).await
    }

    async fn refused(&mut self) -> DriverError {
        self.inner.refused().await
    }

    async fn commit(self: Box<Self>) -> Result<(), DriverError> {
        let Self { inner, _use } = *self;
        inner.commit().await
    }
}

/// When the sandbox is idle for long enough, if it is not used until then; `None` where it cannot be idle.
pub(crate) fn due_at(sandbox: &Sandbox, uses: &Uses) -> Option<Instant> {
    let timeout = sandbox.peek(|record| can_be_idle(record).then_some(record.policy.idle_timeout))??;
    (uses.active == 0).then(|| uses.since + timeout)
}

fn can_be_idle(record: &SandboxRecord) -> bool {
    let argv: Vec<&str> = record.spec.main.argv.iter().chain(&record.spec.args).map(String::as_str).collect();
    record.state == State::Running
        && !matches!(record.ownership, Ownership::Kept { .. })
        && (record.idles() || record.main_end.is_some() || WAITING.contains(&argv.as_slice()))
}

/// Waits until a sandbox has been idle for as long as it may be; for ever if it may be so for ever.
pub(crate) async fn due(sandbox: &Sandbox) {
    if sandbox.peek(|record| record.policy.idle_timeout.is_none()) {
        return std::future::pending().await;
    }
    let (mut uses, mut changes) = (sandbox.uses.subscribe(), sandbox.changes());
    loop {
        changes.borrow_and_update();
        let at = due_at(sandbox, &uses.borrow_and_update());
        tokio::select! {
            _ = uses.changed() => {}
            _ = changes.changed() => {}
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => return,
        }
    }
}

/// Does to an idle sandbox what its policy says, unless it is used at the last moment.
pub(crate) async fn act(engine: &Engine, sandbox: &Sandbox) -> Result<(), ControlError> {
    let _changing = sandbox.changing.lock().await;
    let uses = *sandbox.uses.borrow();
    if due_at(sandbox, &uses).is_none_or(|at| at > Instant::now()) {
        return Ok(());
    }
    let (timeout, on_idle) = sandbox.peek(|record| (record.policy.idle_timeout, record.policy.on_idle));
    match on_idle {
        OnIdle::Pause => pause::freeze(engine, sandbox, PauseReason::Idle).await,
        OnIdle::Stop => {
            let seconds = timeout.unwrap_or_default().as_secs();
            let ending = Ending::new(TerminationReason::Idle)
                .with_message(format!("nobody has used it for {seconds} s"));
            keep::clean_up_held(engine, sandbox, CleanUp::Idle, ending).await
        }
    }
    .map(drop)
}
