//! The builders of the asynchronous API with calls that wait at their end.

use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;

use super::{Process, Sandbox};
use crate::{
    CommandOutput, Connection, Error, Keep, KeepAs, OnIdle, PullCredentials, Resources, SandboxDefaults,
    WindowSize, engine,
};

/// Setters that do what those of the wrapped builder do.
macro_rules! forward {
    ($builder:ident { $(fn $name:ident($($argument:ident: $type:ty),*);)* }) => {
        impl $builder {
            $(
                #[doc = concat!("As [`", stringify!($builder), "::", stringify!($name), "`](crate::", stringify!($builder), "::", stringify!($name), ").")]
                pub fn $name(self, $($argument: $type),*) -> Self {
                    Self(self.0.$name($($argument),*))
                }
            )*
        }
    };
}

/// A sandbox to be, as [`crate::SandboxBuilder`].
#[must_use = "nothing is made before `run` or `build`"]
#[derive(Debug)]
pub struct SandboxBuilder(pub(crate) crate::SandboxBuilder);

forward!(SandboxBuilder {
    fn defaults(defaults: SandboxDefaults);
    fn connection(connection: Connection);
    fn image(image: impl Into<String>);
    fn pull_credentials(credentials: PullCredentials);
    fn command(command: impl Into<String>);
    fn args(args: impl IntoIterator<Item = impl Into<String>>);
    fn tag(tag: impl Into<String>);
    fn tags(tags: impl IntoIterator<Item = impl Into<String>>);
    fn env(name: impl Into<String>, value: impl Into<String>);
    fn annotation(key: impl Into<String>, value: impl Into<String>);
    fn resources(resources: Resources);
    fn working_dir(dir: impl Into<String>);
    fn mounted_file(path: impl Into<String>, content: impl Into<Vec<u8>>);
    fn runner_ids(ids: impl IntoIterator<Item = impl Into<String>>);
    fn max_lifetime(lifetime: Duration);
    fn start_timeout(timeout: Duration);
    fn detach();
    fn orphan_grace(grace: Duration);
    fn keep(keep: Keep);
    fn keep_for(length: Duration);
    fn keep_as(kept: KeepAs);
    fn idle_timeout(timeout: Duration);
    fn on_idle(then: OnIdle);
    fn edit_spec(edit: impl FnOnce(&mut wire::SandboxSpec) + Send + 'static);
});

impl SandboxBuilder {
    /// As [`crate::SandboxBuilder::build`].
    ///
    /// # Errors
    /// The same.
    pub fn build(self) -> Result<Sandbox, Error> {
        Ok(Sandbox(self.0.build()?))
    }

    /// As [`crate::SandboxBuilder::run`].
    ///
    /// # Errors
    /// The same.
    pub fn run(self) -> Result<Sandbox, Error> {
        let sandbox = self.build()?;
        sandbox.start()?;
        Ok(sandbox)
    }
}

/// A command to be run in a sandbox, as [`crate::ExecBuilder`].
#[must_use = "nothing is run before `start` or `output`"]
#[derive(Debug, Clone)]
pub struct ExecBuilder(pub(crate) crate::ExecBuilder);

forward!(ExecBuilder {
    fn env(name: impl Into<String>, value: impl Into<String>);
    fn cwd(dir: impl Into<String>);
    fn stdin();
    fn terminal(size: WindowSize);
    fn check();
    fn timeout(timeout: Duration);
    fn output_limit(bytes: usize);
});

impl ExecBuilder {
    /// As [`crate::ExecBuilder::start`].
    ///
    /// # Errors
    /// The same.
    pub fn start(self) -> Result<Process, Error> {
        Ok(engine::block_on(self.0.start())?.into())
    }

    /// As [`crate::ExecBuilder::output`].
    ///
    /// # Errors
    /// The same.
    pub fn output(self) -> Result<CommandOutput, Error> {
        engine::block_on(self.0.output())
    }

    /// As [`crate::ExecBuilder::output_of`].
    ///
    /// # Errors
    /// The same.
    pub fn output_of(self, input: impl Into<Vec<u8>>) -> Result<CommandOutput, Error> {
        engine::block_on(self.0.output_of(input.into()))
    }
}
