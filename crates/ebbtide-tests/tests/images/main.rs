//! Sandboxes on images: by name, by alias, by digest, from files and from a registry, and what is said when there is none.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod applied;
mod many_layers;
mod names;
mod private;
#[path = "../registry/proxy.rs"]
#[expect(dead_code, reason = "the tests of pulling use the rest")]
mod proxy;
mod pulling;
#[path = "../registry/registry.rs"]
#[expect(dead_code, reason = "the tests of pulling use the rest")]
mod registry;
mod world;
