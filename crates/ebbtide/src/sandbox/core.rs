//! What all handles of one sandbox share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ebbtide_model::SandboxId;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tokio::sync::watch;

use super::Sandbox;
use crate::{Connection, Error, SandboxInfo, SandboxState, registry};

/// How long a sandbox may take to start unless its maker says otherwise.
pub(crate) const START: Duration = Duration::from_secs(300);

/// What all handles of one sandbox share. When the last of them goes, so does a sandbox that is ours.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) connection: Connection,
    /// What to make; `None` for a sandbox that was found.
    pub(crate) spec: Option<wire::SandboxSpec>,
    /// The same for every attempt to start, so that a lost answer does not make a second sandbox.
    pub(crate) request_id: String,
    pub(crate) start_timeout: Duration,
    /// Whether it is made without an owner.
    pub(crate) detach: bool,
    /// Held by whoever starts it.
    pub(crate) starting: tokio::sync::Mutex<()>,
    /// Held by whoever stops it.
    pub(crate) stopping: tokio::sync::Mutex<()>,
    /// Whether a stop was asked for on this handle.
    pub(crate) stop_sent: watch::Sender<bool>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    info: Option<SandboxInfo>,
    /// Stopped before it was started.
    cancelled: bool,
    /// Whether it ends with its last handle.
    owned: bool,
}

impl Core {
    /// A sandbox that is to be made.
    pub(crate) fn new(
        connection: Connection,
        spec: wire::SandboxSpec,
        owned: bool,
        start_timeout: Option<Duration>,
    ) -> Arc<Self> {
        // A forked child draws the same random numbers as its parent and as its siblings.
        let request_id = format!("{}-{}", SandboxId::generate(), std::process::id());
        Self::with(connection, Some(spec), request_id, start_timeout.unwrap_or(START), None, owned)
    }

    /// A sandbox that is there.
    pub(crate) fn found(connection: Connection, sandbox: SandboxInfo) -> Sandbox {
        let core = Self::with(connection, None, String::new(), START, Some(sandbox), false);
        Sandbox { core }
    }

    fn with(
        connection: Connection,
        spec: Option<wire::SandboxSpec>,
        request_id: String,
        start_timeout: Duration,
        info: Option<SandboxInfo>,
        owned: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection,
            spec,
            request_id,
            start_timeout,
            detach: !owned,
            starting: tokio::sync::Mutex::default(),
            stopping: tokio::sync::Mutex::default(),
            stop_sent: watch::Sender::new(false),
            known: Mutex::new(Known { info, cancelled: false, owned }),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn info(&self) -> Option<SandboxInfo> {
        self.known().info.clone()
    }

    pub(crate) fn id(&self) -> Option<String> {
        self.known().info.as_ref().map(|info| info.id.clone())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.known().cancelled
    }

    /// Marks one that was never started as stopped.
    pub(crate) fn cancel(&self) {
        self.known().cancelled = true;
    }

    pub(crate) fn disown(&self) {
        self.known().owned = false;
    }

    /// Makes it end with its last handle.
    pub(crate) fn own(&self) {
        self.known().owned = true;
    }

    /// Whether nothing is left to stop, as far as is known here.
    pub(crate) fn is_over(&self) -> bool {
        let known = self.known();
        known.cancelled || known.info.as_ref().is_some_and(SandboxInfo::is_gone)
    }

    /// Takes note of what the daemon says. A terminal state is never left, and an ending one only for such.
    pub(crate) fn learn(&self, sandbox: wire::Sandbox) -> SandboxInfo {
        self.note(SandboxInfo::from(sandbox))
    }

    /// As [`Core::learn`].
    pub(crate) fn note(&self, new: SandboxInfo) -> SandboxInfo {
        let mut known = self.known();
        let stale = known.info.as_ref().is_some_and(|old| {
            // Of one that has ended only what is kept of it can change.
            (old.state.is_terminal() && (old.is_gone() || !new.state.is_terminal()))
                || (old.state == SandboxState::Terminating
                    && !new.state.is_terminal()
                    && new.state != SandboxState::Terminating)
        });
        match &mut known.info {
            Some(old) if stale => old.clone(),
            info => info.insert(new).clone(),
        }
    }

    /// Takes note that there is no record of it any more.
    pub(crate) fn learn_gone(&self) {
        if let Some(info) = &mut self.known().info
            && !info.state.is_terminal()
        {
            info.state = SandboxState::Terminated;
            info.seen_at = SystemTime::now();
        }
    }

    /// Asks the daemon.
    pub(crate) async fn ask(&self) -> Result<SandboxInfo, Error> {
        let id = self.id().ok_or(Error::NotStarted)?;
        let sandbox = self.connection.call(async |client: crate::Client| client.get(&id).await).await?;
        Ok(self.learn(sandbox))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(info) = known.info.as_ref().filter(|info| known.owned && !info.state.is_terminal()) else {
            return;
        };
        // In a forked child the handles are copies: the sandbox is still its parent's.
        if self.connection.is_ours() {
            registry::hand_over(self.connection.clone(), info.id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HomeLocation, Target};

    fn core() -> Arc<Core> {
        let connection = Connection::to_home(HomeLocation::new("/nonexistent", "/nonexistent"));
        Core::new(connection, wire::SandboxSpec::default(), false, None)
    }

    fn said(state: wire::State) -> wire::Sandbox {
        let mut status = wire::SandboxStatus::default();
        status.set_state(state);
        wire::Sandbox { sandbox_id: "s".into(), status: Some(status), ..Default::default() }
    }

    #[tokio::test]
    async fn in_a_forked_child_a_handle_is_of_no_use_and_ends_nothing() {
        let home = HomeLocation::new("/nonexistent", "/nonexistent");
        let connection = Connection::of_another_process(Target::Home(home));
        let core = Core::new(connection, wire::SandboxSpec::default(), true, None);
        core.learn(wire::Sandbox { sandbox_id: "of-the-parent".into(), ..said(wire::State::Running) });
        let sandbox = Sandbox { core };
        assert!(matches!(sandbox.status().await, Err(Error::Forked { owner: u32::MAX })));
        assert!(matches!(sandbox.exec(["true"]).start().await, Err(Error::Forked { .. })));
        drop(sandbox);
        assert!(!registry::pending().contains(&"of-the-parent".to_owned()));
    }

    #[test]
    fn an_answer_that_comes_late_does_not_bring_a_sandbox_back() {
        let core = core();
        core.learn(said(wire::State::Running));
        core.learn(said(wire::State::Terminating));
        assert_eq!(core.learn(said(wire::State::Running)).state, SandboxState::Terminating);
        core.learn(said(wire::State::Completed));
        assert_eq!(core.learn(said(wire::State::Terminating)).state, SandboxState::Completed);
        core.learn_gone();
        assert_eq!(core.info().unwrap().state, SandboxState::Completed);
    }
}
