//! What starts an exec, and what changes the size of its terminal.

use ebbtide_model::{Command, Invalid, WindowSize};

use crate::coreweave::sandbox::v1::{ExecStreamInit, ExecStreamResize};

/// The command that `init` asks for, and the terminal that it asks for with it.
///
/// # Errors
/// When the terminal has a size that none can have, or a size is asked for without a terminal.
pub fn exec_command(init: ExecStreamInit) -> Result<(Command, Option<WindowSize>), Invalid> {
    let ExecStreamInit { sandbox_id: _, command: argv, tty, tty_width, tty_height, env, container: _ } = init;
    let (columns, rows) = (("init.tty_width", tty_width), ("init.tty_height", tty_height));
    let terminal = if tty {
        Some(WindowSize::checked(0, columns, rows)?)
    } else if let Some((field, number)) = [columns, rows].into_iter().find(|(_, number)| *number != 0) {
        let problem = format!("{number} is the size of a terminal that is not asked for");
        return Err(Invalid::new(field, problem, "0, or any size with init.tty"));
    } else {
        None
    };
    Ok((Command { argv, env: env.into_iter().collect(), working_dir: None }, terminal))
}

/// The size that `resize` asks for.
///
/// # Errors
/// When no terminal can have it.
pub fn window_size(resize: ExecStreamResize) -> Result<WindowSize, Invalid> {
    WindowSize::checked(1, ("resize.width", resize.width), ("resize.height", resize.height))
}
