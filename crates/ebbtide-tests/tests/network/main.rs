//! Owners elsewhere, and what networks do to them: packets that are lost, connections that are cut, proxies that tell
//! nothing; and those who come with another's token.
//!
//! `EBBTIDE_TEST_CUT_SECONDS` says how long a network is away that comes back (4), `EBBTIDE_TEST_SILENCE_SECONDS` how long
//! is waited until an end that is gone is known to be (0: not at all; it takes minutes).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cuts;
mod gone;
mod program;
mod silence;
mod tokens;
mod world;

use std::time::Duration;

/// How long anything may take that is bound to happen.
const LIMIT: Duration = Duration::from_secs(60);
