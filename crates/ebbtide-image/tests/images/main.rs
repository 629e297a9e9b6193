//! The store and the unpacker, as those who pull and load images use them, and as those who make hostile ones do.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod bounds;
mod collect;
mod corpus;
mod crash;
mod fixture;
mod hostile;
mod merge;
mod property;
mod store;
mod tarball;
mod tree;
mod unpack;
