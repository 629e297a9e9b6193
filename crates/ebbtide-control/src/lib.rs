//! The life of a sandbox: the ledger, the engine that takes each sandbox from create to gone, deadlines, clean-up
//! and reconciliation. It knows drivers, and neither Linux nor the wire protocol.
//!
//! What is promised: a sandbox that was answered to a caller is never unknown until its retention is over; it is in
//! the ledger before anything of it exists and has its tombstone after everything of it is gone; a terminal state
//! never changes; and a daemon that is killed at any moment leaves a ledger from which the next one goes on.
//!
//! Read a create downwards: [`Control::create`], `lifecycle::create`; a stop: [`Control::stop`],
//! `lifecycle::ending`; what a restart does: `reconcile`.

mod change;
mod clocks;
mod config;
mod control;
mod deadlines;
mod describe;
mod engine;
mod error;
mod events;
mod failpoint;
mod idle;
mod ids;
mod images;
mod keep;
mod lease;
pub mod ledger;
mod lifecycle;
mod list;
mod metrics;
mod output;
mod owner;
mod pause;
mod plan;
mod purge;
mod reconcile;
mod sandbox;
mod store;
mod sweep;
mod tasks;
#[cfg(test)]
mod tests;
mod time;
mod work;

pub use clocks::{Clocks, KernelClocks};
pub use config::{ControlConfig, Timing};
pub use control::{Asked, Control, Occasion};
pub use deadlines::{Deadline, DeadlineKind, Then};
pub use describe::Described;
pub use error::ControlError;
pub use events::{EventFilter, EventItem, EventKind, Events, SandboxEvent};
pub use failpoint::FAIL_POINTS;
pub use images::{HostOnly, ImageDefaults, ImageRequest, Images, PrepareError, PreparedImage, Progress};
pub use lease::{Adopter, HeldLease, LeaseToken};
pub use list::{ListFilter, ListPage};
pub use output::MainOutput;
pub use owner::{LocalProcesses, Owners};
pub use plan::{PurgePlan, Whose};
pub use purge::{PurgeFilter, PurgeOutcome, Purged, PurgedItem};
pub use reconcile::{Outcome, Reconciled};
pub use store::LedgerError;
