//! `ebb shell`: a person in a sandbox.

use std::collections::BTreeMap;

use clap::Args;
use ebbtide::ExecCommand;

use crate::attach::{Output, attach};
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::spec::Variable;
use crate::terminal::TerminalArgs;

/// What is run if nothing is named: the first of these that the sandbox has.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// Open a shell in a sandbox, on this terminal
///
/// Everything that is typed goes to the sandbox, Ctrl-C too. `exit` or Ctrl-D leaves the shell; the sandbox stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb shell $(ebb create)
  ebb shell 01k -- python3")]
pub(crate) struct Shell {
    /// The sandbox: its id, or the beginning of it.
    id: String,
    /// A variable of the shell's environment; may be repeated.
    #[arg(long = "env", short = 'e', value_name = "K=V")]
    env: Vec<Variable>,
    /// What to run instead of /bin/bash, or of /bin/sh where there is no bash.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Shell {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let terminal = TerminalArgs::SHELL.open(context)?;
        let mut signals = Signals::install_all()?;
        let daemon = context.daemon()?;
        let (client, sandbox_id) = context.resolve(&daemon, &self.id).await?;
        let env: BTreeMap<_, _> = self.env.into_iter().map(|one| (one.name, one.value)).collect();
        let mut choices = match self.command.is_empty() {
            true => SHELLS.map(|shell| vec![shell.to_owned()]).to_vec(),
            false => vec![self.command],
        }
        .into_iter()
        .peekable();
        let mut output = Output::new(false);
        loop {
            let argv = choices.next().unwrap_or_default();
            let command =
                ExecCommand { sandbox_id: sandbox_id.clone(), argv, env: env.clone(), terminal: None };
            let end = tokio::select! {
                end = attach(&client, command, &mut output, terminal.as_ref()) => end,
                signal = signals.next() => Err(Failure::Interrupted { signal }),
            };
            match end {
                Err(Failure::CommandNotFound(_)) if choices.peek().is_some() => {}
                end => return Ok(end?.exit_code()),
            }
        }
    }
}
