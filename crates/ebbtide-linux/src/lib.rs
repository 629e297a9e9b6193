//! Placeholder.

pub mod audit;
pub mod capabilities;
pub mod disk;
pub mod seccomp;
mod sys_error;

pub use sys_error::SysError;
#[expect(unsafe_code, reason = "descriptors that nobody in this process owns can only be closed by number")]
mod descriptors;

pub use descriptors::close_inherited_descriptors;
