//! The daemon on TCP, as somebody meets it who has its address: with a key, without one, and with ill intent.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod keys;
mod site;
mod strangers;
mod tls;
mod wire;
