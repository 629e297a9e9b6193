//! What the end-to-end tests stand on: the real binary, the real kernel, and an independent reader of what is
//! left.
//!
//! A test takes the [`Machine`], makes [`TestHome`]s on it and runs `ebb` in them. When the machine is handed
//! back, whatever exists that did not exist before fails the test: see [`kernel`] for what is looked at. The
//! tests look at the whole machine, so only one runs at a time.
//!
//! What the environment sets: `EBB_BIN` and `EBB_FAIL_POINTS_BIN`, the programs under test (`cargo xtask test`
//! builds both); and how long the long tests are: `EBBTIDE_TEST_SCALE` (sandboxes alive at once, 200),
//! `EBBTIDE_TEST_ROUNDS` and `EBBTIDE_TEST_CALLERS` (first calls at once, 3 rounds of 24), `EBBTIDE_TEST_DEATHS`
//! (daemons killed at random, 10), `EBBTIDE_TEST_STREAM_MEGABYTES` (the size of each of 64 streams, 3),
//! `EBBTIDE_TEST_FUZZ_SECONDS` (arbitrary requests, 5), `EBBTIDE_TEST_CUT_SECONDS` (networks that come back, 4),
//! `EBBTIDE_TEST_SILENCE_SECONDS` (networks that do not, 0), `EBBTIDE_TEST_CHURN` (sandboxes that come and go, 100),
//! `EBBTIDE_TEST_STILL_SECONDS` (how long processes are stopped, 8). What `cargo xtask torture` sets is told there.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod command;
mod descendants;
mod disk;
pub mod home;
pub mod image;
pub mod kernel;
mod keyed;
mod machine;
pub mod network;
pub mod program;
pub mod proxy;
mod started;
pub mod tree;
mod wait;

pub use command::{Ebb, Output, Running};
pub use disk::{Disk, Full};
pub use home::TestHome;
pub use keyed::{Key, Keyed, with_key};
pub use machine::Machine;
pub use network::{Lost, Network, Space};
pub use program::Program;
pub use proxy::Proxy;
pub use started::Started;
pub use wait::{eventually, holds_within, scale};
