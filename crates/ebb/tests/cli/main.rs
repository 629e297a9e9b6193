//! The real binary, as its users call it. One program for all of it: linking is what takes the time.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod command_line;
mod daemon;
mod support;
