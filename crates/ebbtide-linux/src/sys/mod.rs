//! System calls that neither the standard library nor rustix offers safely, one thin function each.

mod clone;
mod exec;
mod fds;
mod mount;
mod net;
mod signal;

pub(crate) use clone::{CloneFlags, Cloned, clone, unshare};
pub(crate) use exec::execve;
pub(crate) use fds::close_all_but;
pub(crate) use mount::{idmap, make_read_only};
pub(crate) use net::bring_loopback_up;
pub(crate) use signal::{
    SignalFd, alarm, heed_ignored_signals, kill, kill_all, reset_signal_actions, unblock_signals,
};
