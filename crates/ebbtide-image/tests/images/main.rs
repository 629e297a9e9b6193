//! The store and the unpacker, as those who pull and load images use them, and as those who make hostile ones do.
#![expect(clippy::unwrap_used, reason = "tests")]
#![cfg_attr(test, allow(dead_code, clippy::allow_attributes))]

mod fixture;
mod store;
mod tarball;
