//! Placeholder.

pub mod audit;
pub mod capabilities;
pub mod disk;
pub mod seccomp;
mod sys_error;

pub use sys_error::SysError;
