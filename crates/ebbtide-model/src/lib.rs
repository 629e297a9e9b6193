//! The words of Ebbtide as types: what a sandbox is, which states it can be in, what may be asked of it.
//!
//! Nothing here does I/O. Every layer above speaks these types, so a value that exists has been validated:
//! constructors refuse what is out of range and name the field and the accepted range ([`Invalid`]).

mod error;
mod id;
mod image;
mod lease;
mod limits;
mod mounted_file;
mod owner;
mod ownership;
mod pause;
mod policy;
mod principal;
mod process_stat;
mod pull_credentials;
mod quantity;
mod reason;
mod receipt;
mod record;
mod resources;
mod spec;
mod state;
mod stop;
mod terminal;

pub use error::{ErrorReason, Invalid};
pub use id::SandboxId;
pub use image::ImageAliases;
pub use lease::{
    Holder, LEASE_HEADER, LeaseId, STOP_FOR_FAILURE, STOP_FOR_HEADER, STOP_FOR_SCOPE, STOP_FOR_SESSION,
};
pub use limits::Limits;
pub use mounted_file::MountedFile;
pub use owner::{OWNER_PID_ANNOTATION, OWNER_START_TIME_ANNOTATION, OwnerProcess};
pub use ownership::{OrphanReason, Ownership};
pub use pause::PauseReason;
pub use policy::{
    DETACH_ANNOTATION, IDLE_TIMEOUT_ANNOTATION, KEEP_ANNOTATION, KEEP_AS_ANNOTATION, KEEP_FOR_ANNOTATION,
    Keep, KeepAs, ON_IDLE_ANNOTATION, ORPHAN_GRACE_ANNOTATION, OnIdle, Policy,
};
pub use principal::Principal;
pub use process_stat::ProcessStat;
pub use pull_credentials::PullCredentials;
pub use quantity::Quantity;
pub use reason::TerminationReason;
pub use receipt::{Leftover, Receipt};
pub use record::{ExitStatus, MadeOf, MainEnd, SandboxRecord};
pub use resources::{Amounts, EffectiveResources, Resources};
pub use spec::{Command, HOST_IMAGE, MAIN_ANNOTATION, MAIN_IDLE, SandboxSpec};
pub use state::{Event, InvalidTransition, State};
pub use stop::StopOptions;
pub use terminal::WindowSize;
