//! One sandbox, as a program holds it.

mod builder;
mod core;
mod files;
mod find;
mod logs;
mod owning;
mod scope;
mod start;
mod stop;

use std::sync::Arc;
use std::time::Duration;

pub use builder::SandboxBuilder;
pub use find::ListOptions;
pub use logs::SandboxLogs;
pub use stop::{StopFor, StopOptions};

pub(crate) use self::core::Core;
use crate::{ExecBuilder, SandboxInfo, SandboxState, WindowSize};
pub(crate) use stop::end;

/// A sandbox.
///
/// Made by [`Sandbox::builder`], by a [`Session`](crate::Session), or found by [`Sandbox::from_id`] and
/// [`Sandbox::list`]. Clones are the same sandbox. Everything that needs it to run starts it first.
///
/// A sandbox that this process made ends with the last handle of it: when that is dropped, a background thread
/// stops it (see [`registry`](crate::registry)). When the process itself ends, by whatever cause, its
/// sandboxes are orphans, which anybody may [`adopt`](Sandbox::adopt) for a grace period, and then end. Both hold unless
/// it was made [detached](SandboxBuilder::detach). One that was found belongs to somebody else, and is only ended by
/// [`Sandbox::stop`].
///
/// ```no_run
/// use ebbtide::Sandbox;
///
/// # async fn example() -> Result<(), ebbtide::Error> {
/// let sandbox = Sandbox::builder().tag("demo").run().await?;
/// let said = sandbox.exec(["echo", "hello"]).output().await?;
/// assert_eq!(said.stdout_text(), "hello\n");
/// sandbox.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub(crate) core: Arc<Core>,
}

impl Sandbox {
    /// A sandbox to be described.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ebbtide::{Resources, Sandbox};
    ///
    /// let sandbox = Sandbox::builder()
    ///     .command("python3")
    ///     .args(["-m", "http.server"])
    ///     .env("LANG", "C")
    ///     .resources(Resources::of("500m", "256Mi"))
    ///     .max_lifetime(Duration::from_secs(600))
    ///     .build()?;
    /// assert!(sandbox.id().is_none(), "nothing was started yet");
    /// # Ok::<(), ebbtide::Error>(())
    /// ```
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::new()
    }

    /// The id; `None` until it was started.
    pub fn id(&self) -> Option<String> {
        self.core.id()
    }

    /// What was last heard of it, without asking again; `None` until it was started.
    pub fn info(&self) -> Option<SandboxInfo> {
        self.core.info()
    }

    /// The state that was last heard of; `None` until it was started.
    pub fn state(&self) -> Option<SandboxState> {
        self.info().map(|info| info.state)
    }

    /// The exit code of the main command, as last heard of.
    pub fn exit_code(&self) -> Option<i32> {
        self.info()?.exit_code
    }

    /// A command to be run in it.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// use std::time::Duration;
    ///
    /// let built = sandbox.exec(["make", "-j2"]).cwd("/src").timeout(Duration::from_secs(60)).output().await?;
    /// println!("{} said {} bytes", built.exit_code, built.stdout.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn exec(&self, command: impl IntoIterator<Item = impl Into<String>>) -> ExecBuilder {
        ExecBuilder::new(self.clone(), command.into_iter().map(Into::into).collect())
    }

    /// A shell on a terminal, `/bin/bash`; another one is for [`Sandbox::exec`] and
    /// [`terminal`](ExecBuilder::terminal).
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    /// use ebbtide::WindowSize;
    /// use tokio::io::AsyncWriteExt as _;
    ///
    /// let mut shell = sandbox.shell(WindowSize { columns: 80, rows: 24 }).start().await?;
    /// if let Some(mut keyboard) = shell.stdin.take() {
    ///     keyboard.write_all(b"tty; exit 3\r").await?;
    ///     shell.resize(WindowSize { columns: 120, rows: 40 }).await;
    /// }
    /// assert_eq!(shell.wait().await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(&self, size: WindowSize) -> ExecBuilder {
        self.exec(["/bin/bash"]).terminal(size)
    }

    /// Lets it live on without its handles; the daemon is not asked. To let it live on without this process, see
    /// [`Sandbox::detach`] and [`SandboxBuilder::detach`].
    pub fn forget(&self) {
        self.core.disown();
    }

    /// How long it may take to start.
    pub(crate) fn start_timeout(&self) -> Duration {
        self.core.start_timeout
    }
}
