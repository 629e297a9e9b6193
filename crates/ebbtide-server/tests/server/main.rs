//! The server as clients see it: over a real socket, with the real engine, on sandboxes that live in memory.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod bounds;
mod daemon;
mod discovery;
mod endings;
mod errors;
mod events;
mod exec;
mod files;
mod idle;
mod leases;
mod lifecycle;
mod listing;
mod logs;
mod network;
mod terminal;
mod unary_exec;
