//! Runs other programs: says what is run, fails when it fails.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::Error;

/// A command of this program's own environment.
pub(crate) fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a command with this process's own output; it must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let text = text(command);
    eprintln!("$ {text}");
    let status = command.stdin(Stdio::null()).status().map_err(|source| spawn_failed(command, source))?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: text, status }) }
}

/// Runs a command and returns what it wrote to standard output; it must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| spawn_failed(command, source))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Failed { command: text(command), status: output.status })
    }
}

/// Whether a command can be run and succeeds; shows nothing of it.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Maps a failed start of a command.
pub(crate) fn spawn_failed(command: &Command, source: std::io::Error) -> Error {
    Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn text(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
