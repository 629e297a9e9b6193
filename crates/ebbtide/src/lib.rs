//! The client of Ebbtide: sandboxes, the commands in them, and the way to the daemon that has them.
//!
//! [`Sandbox`], [`Session`] and [`Process`] are what a program uses; [`blocking`] has the same without `async`.
//! [`Client`] below them is the daemon's calls, each as one method. It knows the protocol and nothing of what is
//! behind it. Every error says what happened and keeps what a program needs to act on it: its class
//! ([`Error::kind`]), the reason, the fields that were refused.
//!
//! ```no_run
//! # async fn example() -> Result<(), ebbtide::Error> {
//! let sandbox = ebbtide::Sandbox::builder().run().await?;
//! let said = sandbox.exec(["uname", "-n"]).check().output().await?;
//! print!("{}", said.stdout_text());
//! sandbox.stop().await?;
//! # Ok(())
//! # }
//! ```

pub mod blocking;
mod causes;
mod client;
mod connect;
mod connection;
mod defaults;
mod description;
mod engine;
mod error;
mod events;
mod exec;
mod files;
mod home;
mod info;
mod keep;
mod lease;
mod logs;
mod network;
mod owner;
mod ownership;
mod process;
mod process_local;
mod purge;
pub mod registry;
mod remote;
mod resources;
mod sandbox;
mod session;
mod sockets;
mod start;
mod state;
mod target;
mod why;

pub use client::{Client, Info, PurgeAnswer, SandboxImage, Select};
pub use connect::{ConnectOptions, connect};
pub use connection::Connection;
pub use defaults::{MountedFile, PullCredentials, SandboxDefaults};
pub use description::{Deadline, DeadlineKind, Description, End, MainEnd};
pub use ebbtide_model::{Keep, KeepAs, Leftover, OnIdle, OwnerProcess, Policy, Receipt, WindowSize};
pub use ebbtide_proto as proto;
pub use engine::spawn;
pub use error::{Error, ErrorKind, FieldViolation, Owned, Rejection};
pub use events::{Events, EventsOptions};
pub use exec::{Exec, ExecCommand, ExecEvent, ExecEvents, ExecResizer, ExecStdin};
pub use files::{ArchiveReader, FileReader, WriteOptions, Writer};
pub use home::{Home, HomeError, HomeLocation};
pub use info::SandboxInfo;
pub use keep::from_env as keep_from_env;
pub use logs::{LogEvent, LogOptions, Logs};
pub use owner::owner;
pub use ownership::{Adopter, Holder, Ownership, OwnershipKind};
pub use process::{CommandOutput, ExecBuilder, Process, ProcessOutput, ProcessStdin};
pub use process_local::ProcessLocal;
pub use purge::{PurgeFilter, PurgeOutcome, PurgePlan, Purged};
pub use remote::{Remote, RemoteError};
pub use resources::{Gpu, ResourceAmounts, Resources};
pub use sandbox::{ListOptions, Sandbox, SandboxBuilder, SandboxLogs, StopFor, StopOptions};
pub use session::Session;
pub use sockets::inherited_sockets;
pub use state::SandboxState;
pub use target::Target;
pub use why::{why, why_at};
