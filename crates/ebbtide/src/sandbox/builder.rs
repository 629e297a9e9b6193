//! Saying what a sandbox is to be like.

use std::time::Duration;

use ebbtide_model::{Keep, KeepAs, OnIdle};
use ebbtide_proto::coreweave::sandbox::v1 as wire;

use super::{Core, Sandbox};
use crate::{Connection, Error, MountedFile, PullCredentials, Resources, SandboxDefaults, Session, owner};

/// A change to the request that is made last.
type Edit = Box<dyn FnOnce(&mut wire::SandboxSpec) + Send>;

/// A sandbox to be: what it is like, and where it is made.
///
/// ```
/// use ebbtide::{Sandbox, SandboxDefaults};
///
/// let defaults = SandboxDefaults { tags: vec!["nightly".into()], ..Default::default() };
/// let sandbox = Sandbox::builder().defaults(defaults).tag("one-of-many").build()?;
/// # Ok::<(), ebbtide::Error>(())
/// ```
#[must_use = "nothing is made before `run` or `build`"]
#[derive(Default)]
pub struct SandboxBuilder {
    defaults: SandboxDefaults,
    call: SandboxDefaults,
    connection: Option<Connection>,
    session: Option<Session>,
    edit: Option<Edit>,
}

impl std::fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxBuilder").field("defaults", &self.defaults).field("call", &self.call).finish()
    }
}

impl SandboxBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn in_session(session: Session, defaults: SandboxDefaults, connection: Connection) -> Self {
        Self { defaults, connection: Some(connection), session: Some(session), ..Self::default() }
    }

    /// What holds where this builder says nothing; see [`SandboxDefaults::overridden_by`].
    pub fn defaults(mut self, defaults: SandboxDefaults) -> Self {
        self.defaults = defaults;
        self
    }

    /// The daemon to make it; that of the environment otherwise.
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connection = Some(connection);
        self
    }

    /// The image, which is pulled if it is not here; `host`, the machine's own programs, otherwise.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.call.image = Some(image.into());
        self
    }

    /// Where the daemon finds the credentials for the image's registry.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{PullCredentials, Sandbox};
    ///
    /// let credentials = PullCredentials {
    ///     registry: "registry.example".into(),
    ///     store: "team".into(), // [secrets.team] of the daemon's ebbtide.toml
    ///     path: "registry".into(),
    ///     field: String::new(),
    /// };
    /// let builder = Sandbox::builder().image("registry.example/app:1").pull_credentials(credentials);
    /// let sandbox = builder.run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pull_credentials(mut self, credentials: PullCredentials) -> Self {
        self.call.pull_credentials = Some(credentials);
        self
    }

    /// The program of the main command; the sandbox ends with it. Without one, and without arguments, it idles, whatever
    /// its image says.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.call.command = Some(command.into());
        self
    }

    /// The arguments of the main command; without a program, of the image's own.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.call.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// A word to find it by.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.call.tags.push(tag.into());
        self
    }

    /// Words to find it by.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.call.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// A variable of its commands' environment.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.call.env.insert(name.into(), value.into());
        self
    }

    /// A key with a value, free for the caller's use; keys under `ebbtide.dev/` mean something to Ebbtide.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.call.annotations.insert(key.into(), value.into());
        self
    }

    /// What it may use.
    pub fn resources(mut self, resources: Resources) -> Self {
        self.call.resources = Some(resources);
        self
    }

    /// The directory that commands start in.
    pub fn working_dir(mut self, dir: impl Into<String>) -> Self {
        self.call.working_dir = Some(dir.into());
        self
    }

    /// A file that it has from the beginning.
    pub fn mounted_file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        let file = MountedFile { path: path.into(), content: content.into() };
        self.call.mounted_files.get_or_insert_default().push(file);
        self
    }

    /// The runners that may run it; none at all clears what the defaults say.
    pub fn runner_ids(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.call.runner_ids = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// How long it may live, in whole seconds.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.call.max_lifetime = Some(lifetime);
        self
    }

    /// How long it may take to start before a call that needs it gives up; 300 s otherwise.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.call.start_timeout = Some(timeout);
        self
    }

    /// Lets it live on without this process and its handles: it has no owner, and ends by [`Sandbox::stop`], with
    /// its main command, or when its lifetime is over. The daemon gives one without an owner a shorter lifetime.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use std::time::Duration;
    ///
    /// let server = ebbtide::Sandbox::builder().detach().max_lifetime(Duration::from_secs(8 * 3600)).run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut self) -> Self {
        self.call.detach = Some(true);
        self
    }

    /// How long it lives on after this process, in whole seconds, for others to [adopt](Sandbox::adopt) it; 60 s
    /// otherwise.
    pub fn orphan_grace(mut self, grace: Duration) -> Self {
        self.call.orphan_grace = Some(grace);
        self
    }

    /// When it is spared by a clean-up that nobody asked for by name: at the end of its session, its block, its handles
    /// or its owner. [`Sandbox::stop`] always ends it. The variable `EBBTIDE_KEEP_SANDBOX` overrides what is said here.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use std::time::Duration;
    /// use ebbtide::{Keep, KeepAs, Sandbox};
    ///
    /// let debugged = Sandbox::builder()
    ///     .keep(Keep::OnFailure)
    ///     .keep_for(Duration::from_secs(600))
    ///     .keep_as(KeepAs::Running)
    ///     .run()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep(mut self, keep: Keep) -> Self {
        self.call.keep = Some(keep);
        self
    }

    /// For how long it is kept, in whole seconds; an hour otherwise.
    pub fn keep_for(mut self, length: Duration) -> Self {
        self.call.keep_for = Some(length);
        self
    }

    /// What of it is kept; all of it, frozen, otherwise.
    pub fn keep_as(mut self, kept: KeepAs) -> Self {
        self.call.keep_as = Some(kept);
        self
    }

    /// After how long without use it is idle, in whole seconds. A command that runs by exec is use.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.call.idle_timeout = Some(timeout);
        self
    }

    /// What becomes of it when it is idle; it ends otherwise. Only beside an [idle timeout](Self::idle_timeout).
    pub fn on_idle(mut self, then: OnIdle) -> Self {
        self.call.on_idle = Some(then);
        self
    }

    /// Changes the request as it is sent, for what the protocol has and this builder does not.
    ///
    /// ```
    /// # use ebbtide::Sandbox;
    /// let builder = Sandbox::builder().edit_spec(|spec| spec.runtime_class = "gvisor".into());
    /// ```
    pub fn edit_spec(mut self, edit: impl FnOnce(&mut wire::SandboxSpec) + Send + 'static) -> Self {
        self.edit = Some(Box::new(edit));
        self
    }

    /// The sandbox, not started: the first call that needs it does that.
    ///
    /// # Errors
    /// When a value is out of range, the environment names no daemon, or the session was closed.
    pub fn build(self) -> Result<Sandbox, Error> {
        let connection = match self.connection {
            Some(connection) => connection,
            None => Connection::from_env()?,
        };
        let wanted = self.defaults.overridden_by(self.call);
        let owned = !wanted.detach.unwrap_or_default();
        let start_timeout = wanted.start_timeout;
        // Only a daemon on this machine sees when this process ends.
        let owner = if owned && connection.is_local() {
            let pid = std::process::id();
            Some(owner(pid).map_err(|source| Error::io("read our own start time", source))?)
        } else {
            None
        };
        let mut spec = wanted.spec(owner)?;
        if let Some(edit) = self.edit {
            edit(&mut spec);
        }
        let sandbox = Sandbox { core: Core::new(connection, spec, owned, start_timeout) };
        if let Some(session) = self.session {
            session.enter(&sandbox)?;
        }
        Ok(sandbox)
    }

    /// The sandbox, asked for: its id is known when this returns, and making it goes on. [`Sandbox::wait`] waits for
    /// that, and so does every call that needs it.
    ///
    /// # Errors
    /// As [`SandboxBuilder::build`], and when the daemon cannot be reached or refuses.
    pub async fn run(self) -> Result<Sandbox, Error> {
        let sandbox = self.build()?;
        sandbox.start().await?;
        Ok(sandbox)
    }
}
