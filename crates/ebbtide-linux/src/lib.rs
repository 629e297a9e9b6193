//! Placeholder.

pub mod audit;
pub mod disk;
mod sys_error;

pub use sys_error::SysError;
