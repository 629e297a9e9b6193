//! The client of Ebbtide: finds a home, reaches its daemon (and starts it when there is none), or one elsewhere by its
//! address, and calls it.
//!
//! It knows the protocol and nothing of what is behind it. Every error says what happened and keeps what a
//! program needs to act on it: the code, the reason, the fields that were refused.

mod client;
mod connect;
mod error;
mod events;
mod exec;
mod home;
mod remote;
mod start;
mod target;

pub use client::{Client, Info, PurgeAnswer, Select};
pub use connect::{ConnectOptions, connect};
pub use ebbtide_proto as proto;
pub use error::{Error, FieldViolation, Rejection};
pub use events::{Events, EventsOptions};
pub use exec::{Exec, ExecCommand, ExecEvent, ExecEvents, ExecStdin};
pub use home::{Home, HomeError, HomeLocation};
pub use remote::{Remote, RemoteError};
pub use target::Target;
