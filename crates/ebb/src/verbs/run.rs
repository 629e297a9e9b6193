//! `ebb run`: one command in a sandbox of its own, which is gone afterwards.
//!
//! The sandbox is owned by this process, so even a `kill -9` at any point leaves nothing behind for longer than
//! the owner's grace period.

use std::io::{self, IsTerminal as _};

use clap::Args;
use ebbtide::{ExecCommand, Keep, StopFor, Target};

use crate::attach::{Output, attach};
use crate::context::Context;
use crate::disposable::Disposable;
use crate::failure::Failure;
use crate::kept;
use crate::signals::Signals;
use crate::spec::SpecArgs;
use crate::starting;
use crate::terminal::TerminalArgs;
use crate::verbs::create::Create;
use ebbtide::owner;

/// Run a command in a new sandbox, which is gone afterwards
///
/// Standard input, output and error are the command's, and its exit code is ours. A signal, or a reader of the
/// output that goes away, ends the sandbox; a second signal ends the wait for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb run -- sh -c 'echo hello from $(uname -n)'
  ebb run --memory 256Mi --env NAME=value -- python3 -c 'print(2+2)'
  tar c . | ebb run --workdir /tmp -- tar x
  ebb run -it -- bash
  ebb run --image python:3.11 -- python3 -V
  ebb run --keep on_failure --keep-for 600 -- make test")]
pub(crate) struct Run {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    terminal: TerminalArgs,
    /// The command and its arguments; without one, the image's own.
    #[arg(required_unless_present = "image", trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        if self.spec.policy.detach {
            // Nobody waits for its end: the command becomes the main one.
            let Self { spec, command, .. } = self;
            return Create { spec, owner: None, no_wait: false, command }.run(context).await;
        }
        let terminal = self.terminal.open(context)?;
        let mut signals = match terminal {
            Some(_) => Signals::install_all()?,
            None => Signals::install()?,
        };
        let daemon = context.daemon()?;
        // A daemon elsewhere cannot see this process end; there, a lifetime bounds what a `kill -9` leaves behind.
        let us = match daemon.is_local() {
            true => Some(
                owner(std::process::id()).map_err(|error| Failure::io("read our own start time", error))?,
            ),
            false => None,
        };
        let spec = self.spec.spec(&[], us)?;
        let sandbox = Disposable::make(context, &daemon, spec, &mut signals).await?;
        let mut output = Output::new(context.json);
        let run = async {
            let (sandbox_id, env) = (sandbox.id.clone(), self.spec.env());
            let argv = self.command(context, &daemon, &sandbox).await?;
            let command = ExecCommand { sandbox_id, argv, env, terminal: None };
            attach(&sandbox.client, command, &mut output, terminal.as_ref()).await
        };
        let ended = tokio::select! {
            ended = run => ended,
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        };
        let id = sandbox.id.clone();
        let failed = !matches!(&ended, Ok(end) if end.exit_code() == 0);
        match self.spec.policy.keep()? {
            Some(keep @ (Keep::Always | Keep::OnFailure)) if failed || keep == Keep::Always => {
                let stop_for = if failed { StopFor::Failure } else { StopFor::Scope };
                kept::leave(&sandbox, stop_for).await;
            }
            _ => sandbox.remove(context, &daemon, &mut signals).await,
        }
        let end = ended?;
        if let Some(view) = output.view(&id, end) {
            context.print_json(&view)?;
        }
        Ok(end.exit_code())
    }
    /// What to run. An image that may have to be pulled is waited for here where somebody watches; otherwise the daemon
    /// waits, when it is asked to run the command.
    async fn command(
        &self,
        context: &Context,
        daemon: &Target,
        sandbox: &Disposable,
    ) -> Result<Vec<String>, Failure> {
        let has_command = !self.command.is_empty();
        if !has_command || (self.spec.has_image() && io::stderr().is_terminal()) {
            starting::wait(context, daemon, sandbox).await?;
        }
        if has_command {
            return Ok(self.command.clone());
        }
        let image = context
            .call_on(daemon, &sandbox.client, async |client| client.sandbox_image(&sandbox.id).await)
            .await?;
        match image.command.is_empty() {
            true => Err(Failure::NoCommand { image: self.spec.image().to_owned() }),
            false => Ok(image.command),
        }
    }
}
