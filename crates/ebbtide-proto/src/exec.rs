//! The first message of an exec, as a command.

use ebbtide_model::Command;

use crate::Refusal;
use crate::coreweave::sandbox::v1::ExecStreamInit;
use crate::refusal::unless;

/// The command that `init` asks for.
///
/// # Errors
/// When it asks for a terminal.
pub fn exec_command(init: ExecStreamInit) -> Result<Command, Refusal> {
    unless(!init.tty, "init.tty", "terminals are")?;
    unless(init.tty_width == 0 && init.tty_height == 0, "init.tty_width", "terminals are")?;
    Ok(Command { argv: init.command, env: init.env.into_iter().collect(), working_dir: None })
}
