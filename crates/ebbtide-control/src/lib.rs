//! The life of a sandbox.

mod config;
mod error;
mod store;

use std::sync::Arc;

use ebbtide_driver::{Driver, Exec, ExecRequest};
use ebbtide_model::{Principal, SandboxId, SandboxRecord, SandboxSpec, State, StopOptions};
use tokio::sync::watch;

pub use config::{ControlConfig, Timing};
pub use error::ControlError;
pub use store::LedgerError;

/// What the ledger holds, for readers beside a live daemon.
pub mod ledger {
    use std::path::Path;

    use ebbtide_model::SandboxRecord;

    use crate::LedgerError;

    /// Reads every record. A ledger that does not exist holds none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_only(path: &Path) -> Result<Vec<SandboxRecord>, LedgerError> {
        Err(LedgerError::Busy { path: path.to_owned() })
    }
}

/// Which sandboxes a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// All of these tags.
    pub tags: Vec<String>,
    /// This state alone, terminal or not.
    pub state: Option<State>,
    /// Ended ones too. Without effect where `state` is given.
    pub show_terminated: bool,
    /// How many at most; 0 for the default.
    pub page_size: usize,
    /// Where the page before ended; empty for the first page.
    pub page_token: String,
    /// The youngest first.
    pub descending: bool,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage {
    /// The records, by age.
    pub records: Vec<SandboxRecord>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

/// Which sandboxes a purge ends: those with all of `tags`, or `all`. Neither is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// All of these tags.
    pub tags: Vec<String>,
    /// Every sandbox of the caller.
    pub all: bool,
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// Those that it was about.
    pub matched: Vec<SandboxId>,
    /// Those of them that could not be told to end.
    pub failed: Vec<SandboxId>,
    /// Those of them that are ending and had not ended when the time was over.
    pub retryable: Vec<SandboxId>,
}

/// The engine.
#[derive(Clone)]
pub struct Control {
    live: watch::Receiver<usize>,
}

impl Control {
    /// Opens the ledger, reconciles it with what the driver has, and starts the background tasks.
    ///
    /// # Errors
    /// When the ledger cannot be used or the driver cannot be asked.
    pub async fn open(_config: ControlConfig, _driver: Arc<dyn Driver>) -> Result<Self, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Records the wish for a sandbox; it is made in the background.
    ///
    /// # Errors
    /// When the spec is invalid, the request id is taken, or the ledger fails.
    pub async fn create(
        &self,
        _principal: &Principal,
        _spec: SandboxSpec,
        _request_id: &str,
    ) -> Result<SandboxRecord, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// The record of one sandbox.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn get(&self, _principal: &Principal, _id: &str) -> Result<SandboxRecord, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// The caller's sandboxes, a page at a time.
    ///
    /// # Errors
    /// When the page token is none of ours.
    pub async fn list(&self, _principal: &Principal, _filter: ListFilter) -> Result<ListPage, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Ends a sandbox; its end is recorded when this returns.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn stop(
        &self,
        _principal: &Principal,
        _id: &str,
        _options: StopOptions,
    ) -> Result<SandboxRecord, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Ends the caller's sandboxes.
    ///
    /// # Errors
    /// When the filter names none.
    pub async fn purge(
        &self,
        _principal: &Principal,
        _filter: PurgeFilter,
        _dry_run: bool,
    ) -> Result<PurgeOutcome, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When the sandbox does not run.
    pub async fn exec(
        &self,
        _principal: &Principal,
        _id: &str,
        _request: ExecRequest,
    ) -> Result<Exec, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Waits until a sandbox has ended.
    ///
    /// # Errors
    /// When the caller has none with this id.
    pub async fn wait(&self, _principal: &Principal, _id: &str) -> Result<SandboxRecord, ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Ends every sandbox and the driver's helpers.
    ///
    /// # Errors
    /// When something could not be ended.
    pub async fn shutdown(&self) -> Result<(), ControlError> {
        Err(ControlError::ShuttingDown)
    }

    /// Ends the background tasks and leaves the sandboxes running, for the next daemon to adopt.
    pub async fn close(&self) {}

    /// The number of sandboxes that have not ended.
    pub fn live(&self) -> watch::Receiver<usize> {
        self.live.clone()
    }
}
