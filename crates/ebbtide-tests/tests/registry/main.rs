//! Images from a real registry: Debian's `docker-registry` on loopback, filled with `skopeo`, with a proxy in front of
//! it that does damage when it is told to.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod damage;
mod full;
mod images;
mod login;
mod many;
mod names;
mod proxy;
mod pull;
mod registry;
mod tokens;
mod trust;
mod world;
