//! A conformance suite for clean-up: does anything of a sandbox outlive its owner?
//!
//! It drives a system only through a [`Target`], a few shell functions that make, enter, list and stop sandboxes as
//! a user of that system would, does to its owners and helpers what happens to programs (they end, are killed, are
//! stopped), and looks at the host: what is there that was not there before, and how long after. It shares no code
//! with any system that it looks at.

mod bounds;
mod call;
mod case;
mod error;
mod host;
mod owner;
mod process;
mod scorecard;
mod suite;
mod target;

pub use bounds::without_empty_cgroup2;
pub use call::main as call_main;
pub use case::{CaseInfo, cases};
pub use error::TortureError;
pub use scorecard::{CaseReport, Leak, Release, Scorecard, Verdict};
pub use suite::{Options, run};
pub use target::Target;
