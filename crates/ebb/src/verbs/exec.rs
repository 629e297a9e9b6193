//! `ebb exec`: one more command in a sandbox that runs.

use std::collections::BTreeMap;

use clap::Args;
use ebbtide::ExecCommand;

use crate::attach::{Output, attach};
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::spec::Variable;
use crate::terminal::TerminalArgs;

/// Run a command in a sandbox that is there
///
/// As `ebb run`, but the sandbox stays. A signal ends the command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb exec $(ebb create) -- sh -c 'id; ps'
  ebb exec -it 01k -- less /etc/services")]
pub(crate) struct Exec {
    /// The sandbox: its id, or the beginning of it.
    id: String,
    #[command(flatten)]
    terminal: TerminalArgs,
    /// A variable of the command's environment; may be repeated.
    #[arg(long = "env", short = 'e', value_name = "K=V")]
    env: Vec<Variable>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let terminal = self.terminal.open(context)?;
        let mut signals = match terminal {
            Some(_) => Signals::install_all()?,
            None => Signals::install()?,
        };
        let daemon = context.daemon()?;
        let (client, sandbox_id) = context.resolve(&daemon, &self.id).await?;
        let env: BTreeMap<_, _> = self.env.into_iter().map(|one| (one.name, one.value)).collect();
        let command = ExecCommand { sandbox_id: sandbox_id.clone(), argv: self.command, env, terminal: None };
        let mut output = Output::new(context.json);
        // An exec belongs to its stream: when we let go of it, the daemon ends the command.
        let end = tokio::select! {
            end = attach(&client, command, &mut output, terminal.as_ref()) => end,
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        }?;
        if let Some(view) = output.view(&sandbox_id, end) {
            context.print_json(&view)?;
        }
        Ok(end.exit_code())
    }
}
