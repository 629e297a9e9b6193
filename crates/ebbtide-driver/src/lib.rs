//! What Ebbtide needs of whatever runs sandboxes: one trait, and the kit of checks that every driver must pass.
//!
//! A driver knows sandboxes, not tenants, leases or requests. Everything it makes it can list again after a
//! restart of the process that uses it, and everything it lists it can destroy, as often as it is asked to.

mod capacity;
pub mod clean_up;
#[cfg(feature = "conformance")]
pub mod conformance;
mod end;
mod error;
mod exec;
#[cfg(feature = "fake")]
pub mod fake;
mod file;
mod log;
mod plan;

use async_trait::async_trait;
use ebbtide_model::{SandboxId, StopOptions};

pub use ebbtide_model::{Leftover, Receipt, WindowSize};

pub use capacity::Capacity;
pub use end::{DestroyOutcome, EndCause, EndReport, Existing, MainEnded, Phase};
pub use error::DriverError;
pub use exec::{Exec, ExecControl, ExecEvent, ExecEvents, ExecRequest, ExecStdin};
pub use file::{Content, FileError, FileErrorKind, FileRead, Sink, WriteOptions};
pub use log::{LogBefore, LogMark, LogRecord, LogStream, MainLog};
pub use plan::{AtMainEnd, DeadMansSwitch, LayeredRoot, RootImage, SandboxPlan};

/// Runs sandboxes.
///
/// Every method may be called at any time, from any number of tasks, and is bounded in time unless it says
/// otherwise. A future may be dropped at any await: what was begun is then finished or undone by the driver.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// A short name for messages, e.g. `linux`.
    fn name(&self) -> &'static str;

    /// Makes the sandbox and starts its main command; returns once commands can be run in it.
    ///
    /// Repeating it for the same id is how a create is resumed after a crash: what is half made is completed
    /// (or made afresh), and a sandbox that runs already is left as it is and answered with success.
    ///
    /// # Errors
    /// Nothing half-made is left behind by a failed create.
    async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError>;

    /// Runs a command in a running sandbox. Dropping the returned [`Exec`] ends the command.
    ///
    /// # Errors
    /// [`DriverError::Paused`] in a paused one; so do the calls about files.
    async fn exec(&self, id: &SandboxId, request: ExecRequest) -> Result<Exec, DriverError>;

    /// Opens a regular file of a running sandbox for reading.
    ///
    /// # Errors
    /// [`DriverError::File`] where the path does not lead to a regular file that can be read.
    async fn open_read(&self, id: &SandboxId, path: &str) -> Result<FileRead, DriverError>;

    /// Begins to write a regular file of a running sandbox; directories on the way are made. What was there before
    /// stays until the commit and is then replaced at once; a sink that is dropped leaves it as it is.
    ///
    /// # Errors
    /// [`DriverError::File`] where no regular file can be written.
    async fn open_write(
        &self,
        id: &SandboxId,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, DriverError>;

    /// A directory of a running sandbox as a tar stream: its entries by their path below it, sorted, with modes, times,
    /// symbolic and hard links; no sockets or devices, and nothing of the kernel's own file systems below it.
    ///
    /// # Errors
    /// [`DriverError::File`] where the path does not lead to a directory; what fails later ends the content.
    async fn pack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Content>, DriverError>;

    /// Begins to unpack a tar stream into a directory of a running sandbox, which is made if it is not there. Nothing is
    /// written outside of it. Not undone when the sink is dropped: what had come by then stays.
    ///
    /// # Errors
    /// [`DriverError::File`] where the path cannot become a directory.
    async fn unpack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Sink>, DriverError>;

    /// Asks the sandbox to end: SIGTERM to its commands, to the main one what the plan has instead, SIGKILL after
    /// the grace period.
    ///
    /// Returns at once; [`Driver::ended`] tells when it is over. A sandbox that is gone is [`DriverError::NotFound`].
    /// A later stop can shorten the grace; one after the end changes nothing.
    async fn stop(&self, id: &SandboxId, options: StopOptions) -> Result<(), DriverError>;

    /// Replaces the dead man's switch of a running or paused sandbox: a grace that runs ends, and the new switch holds
    /// from now on; one that stays after its main command's end does so for as long as that lets it. Also how a driver
    /// attends again to a sandbox that an earlier one has attended to.
    ///
    /// # Errors
    /// [`DriverError::NotRunning`] once its end has begun, whatever began it.
    async fn guard(&self, id: &SandboxId, switch: DeadMansSwitch) -> Result<(), DriverError>;

    /// Freezes every process of a running sandbox, and never what holds its deadlines: they fire as ever. Returns once
    /// all are frozen; one that is paused already is no error. A stop thaws it, so that its grace is worth something.
    ///
    /// # Errors
    /// The sandbox runs on as before.
    async fn pause(&self, id: &SandboxId) -> Result<(), DriverError>;

    /// Thaws a paused sandbox; one that runs is no error.
    async fn resume(&self, id: &SandboxId) -> Result<(), DriverError>;

    /// Kills every process of a running or paused sandbox and keeps the sandbox: its main command does not end it this
    /// once. Returns when all are gone; afterwards it runs, so that commands can be run in it and its files be read.
    async fn end_processes(&self, id: &SandboxId) -> Result<(), DriverError>;

    /// Waits, without bound, until the main command has ended of a sandbox that stays then ([`AtMainEnd::Stay`]), and says
    /// how. Nothing else runs in it by then; until its end every call answers the
    /// same, also after a restart.
    ///
    /// # Errors
    /// [`DriverError::NotRunning`] once the sandbox has ended, by whatever cause: [`Driver::ended`] tells.
    async fn main_ended(&self, id: &SandboxId) -> Result<MainEnded, DriverError>;

    /// Waits, without bound, until the sandbox has ended: its main command, a deadline, a stop, or a fault.
    ///
    /// When it returns, no process of the sandbox is left. [`Driver::destroy`] then releases what is still held
    /// and forgets the report; until then every call answers with the same report, also after a restart.
    async fn ended(&self, id: &SandboxId) -> Result<EndReport, DriverError>;

    /// Ends the sandbox at once if it still runs, releases everything of it and forgets it.
    ///
    /// When it returns, nothing of the sandbox is left. An id that is not there is [`DestroyOutcome::AlreadyGone`].
    async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, DriverError>;

    /// Opens what the sandbox's main command has put out. It is kept over the end of the sandbox and its destroy,
    /// until [`Driver::forget`]; where there is none (no main command, no such sandbox) it is empty.
    async fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError>;

    /// Removes what is kept of a sandbox beyond its destroy: its log. One of which nothing is kept is no error.
    async fn forget(&self, id: &SandboxId) -> Result<(), DriverError>;

    /// Everything of this driver that exists now: being made, running, or ended and not yet destroyed.
    async fn list(&self) -> Result<Vec<Existing>, DriverError>;

    /// What exists in the kernel or on disk under this driver's mark and belongs to no sandbox of
    /// [`Driver::list`] and no pool of the driver. Must be nothing.
    async fn leftovers(&self) -> Result<Vec<Leftover>, DriverError>;

    /// What sandboxes run on, and how much of it is free now. For information: nothing is promised by it.
    async fn capacity(&self) -> Result<Capacity, DriverError>;

    /// Destroys every sandbox and releases whatever the driver itself holds (helpers, pools, mounts).
    async fn shutdown(&self) -> Result<(), DriverError>;
}
