//! The same without `async`: every call waits for its answer.
//!
//! The work is done by the crate's one background thread, so these calls work in any thread, also in one of a
//! runtime, which they then block. On that background thread itself they are refused
//! ([`Error::BlockingInside`](crate::Error::BlockingInside)).
//!
//! ```no_run
//! use ebbtide::blocking::Sandbox;
//!
//! # fn example() -> Result<(), ebbtide::Error> {
//! let sandbox = Sandbox::builder().tag("demo").run()?;
//! print!("{}", sandbox.exec(["uname", "-n"]).output()?.stdout_text());
//! sandbox.stop()?;
//! # Ok(())
//! # }
//! ```

mod builders;
mod files;
mod logs;
mod process;
mod sandbox;
mod session;

use std::time::Duration;

pub use builders::{ExecBuilder, SandboxBuilder};
pub use files::{FileReader, FileWriter};
pub use logs::LogLines;
pub use process::{Process, ProcessOutput, ProcessStdin};
pub use sandbox::Sandbox;
pub use session::Session;

use crate::engine;

/// As [`registry::settled`](crate::registry::settled).
///
/// ```
/// assert!(ebbtide::blocking::settled(std::time::Duration::from_secs(1)));
/// ```
pub fn settled(limit: Duration) -> bool {
    engine::block_on(async move { Ok(crate::registry::settled_within(limit).await) }).unwrap_or(false)
}
