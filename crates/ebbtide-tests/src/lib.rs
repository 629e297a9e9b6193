//! What the end-to-end tests stand on: the real binary, the real kernel, and an independent reader of what is
//! left.
//!
//! A test takes the [`Machine`], makes [`TestHome`]s on it and runs `ebb` in them. When the machine is handed
//! back, whatever exists that did not exist before fails the test: see [`kernel`] for what is looked at. The
//! tests look at the whole machine, so only one runs at a time.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod command;
mod descendants;
pub mod home;
pub mod kernel;
mod machine;
mod wait;

pub use command::{Ebb, Output, Running};
pub use home::TestHome;
pub use machine::Machine;
pub use wait::{eventually, holds_within, scale};
