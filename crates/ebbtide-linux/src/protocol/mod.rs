//! What the daemon, the launcher and the inits say to each other: versioned messages over sequenced packets.
//!
//! A packet holds one message and its descriptors, so that no side keeps half a message. Whatever does not
//! parse is an error of the connection, never a panic: code beside an init is hostile.

mod helper;
mod init;
mod launcher;
mod packet;

pub(crate) use helper::{Commit, FileAction, FileTask, FromHelper};
pub(crate) use init::{Exec, FromInit, SpawnError, SpawnStage, Start, Switch, TerminalSize, ToInit};
pub(crate) use launcher::{Ceiling, Claim, Destroyed, FromLauncher, Refusal, SlotState, ToLauncher};
pub(crate) use packet::{PacketError, receive, send};
