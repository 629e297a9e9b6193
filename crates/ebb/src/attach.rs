//! A command in a sandbox, connected to our own standard streams.
//!
//! Nothing is buffered beyond one piece in each direction, so a slow reader slows the command down and memory
//! stays bounded. Standard input is read by a thread of its own, which nobody waits for: a read from a terminal
//! cannot be given up.

use std::io::{self, Read as _};
use std::time::Duration;

use ebbtide::{Client, ExecCommand, ExecEvent, ExecStdin};
use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp};
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::exit;
use crate::failure::Failure;
use crate::terminal::{Lent, Terminal};

const PIECE: usize = 64 << 10;
/// The most bytes of each stream that `--json` collects.
const MAX_COLLECTED: usize = 16 << 20;
/// How often a background process looks whether it has the terminal now.
const FOREGROUND_CHECK: Duration = Duration::from_millis(200);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// Whoever read our output went away.
    BrokenPipe,
}

impl End {
    /// Our own exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => exit::of_command(code),
            Self::BrokenPipe => exit::of_signal(rustix::process::Signal::PIPE.as_raw()),
        }
    }
}

/// Where a command's output goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// To our own standard output and error.
    Through,
    /// Into memory, for `--json`.
    Collect(Collected),
}

/// What a command wrote.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
}

/// The result of a command, in the stable shape that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct CommandView {
    sandbox_id: String,
    exit_code: i32,
    stdout: String,
    stderr: String,
    truncated: bool,
}

impl Output {
    /// As `--json` asks for.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Collect(Collected::default()) } else { Self::Through }
    }

    /// What was collected, with the command's exit code; nothing if the output went through.
    pub(crate) fn view(self, sandbox_id: &str, end: End) -> Option<CommandView> {
        let (Self::Collect(collected), End::Exited(exit_code)) = (self, end) else { return None };
        Some(CommandView {
            sandbox_id: sandbox_id.to_owned(),
            exit_code,
            stdout: String::from_utf8_lossy(&collected.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&collected.stderr).into_owned(),
            truncated: collected.truncated,
        })
    }

    async fn stdout(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Through => write(tokio::io::stdout(), data).await,
            Self::Collect(Collected { stdout, truncated, .. }) => {
                *truncated |= collect(stdout, data);
                Ok(())
            }
        }
    }

    async fn stderr(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Through => write(tokio::io::stderr(), data).await,
            Self::Collect(Collected { stderr, truncated, .. }) => {
                *truncated |= collect(stderr, data);
                Ok(())
            }
        }
    }
}

async fn write(mut stream: impl AsyncWrite + Unpin, data: &[u8]) -> io::Result<()> {
    stream.write_all(data).await?;
    stream.flush().await
}

/// Adds what fits; whether something did not.
fn collect(to: &mut Vec<u8>, data: &[u8]) -> bool {
    let fits = data.len().min(MAX_COLLECTED - to.len());
    to.extend_from_slice(&data[..fits]);
    fits < data.len()
}

/// Runs `command` with our own streams until it ends, on a terminal of its own if ours is to be connected to one.
/// Dropping the future ends the command and gives our terminal back.
pub(crate) async fn attach(
    client: &Client,
    mut command: ExecCommand,
    output: &mut Output,
    terminal: Option<&Terminal>,
) -> Result<End, Failure> {
    let command_size = terminal.map(Terminal::size).unwrap_or_default();
    if let Some(terminal) = terminal {
        command.terminal = Some(command_size);
        terminal.name(&mut command.env);
    }
    let exec = client.exec(command).await?;
    let (mut events, resizer, mut stdin) = (exec.events, exec.stdin.resizer(), Some(exec.stdin));
    let mut lent = None;
    if terminal.is_none() {
        feed(stdin.take());
    }
    loop {
        let event = match &mut lent {
            None => events.next().await?,
            Some(lent) => tokio::select! {
                event = events.next() => event?,
                () = Lent::keep_up(lent) => continue,
            },
        };
        let written = match event {
            ExecEvent::Ready => {
                // Not before: until the command runs, Ctrl-C is for us.
                if let Some(terminal) = terminal {
                    lent = Some(terminal.lend(resizer.clone(), command_size)?);
                }
                // A terminal on which nobody types is not one whose keyboard is gone.
                if terminal.is_some_and(|terminal| terminal.typing) {
                    feed(stdin.take());
                }
                Ok(())
            }
            ExecEvent::Stdout(data) => {
                if let Some(lent) = &mut lent {
                    lent.show(&data);
                }
                output.stdout(&data).await
            }
            ExecEvent::Stderr(data) => output.stderr(&data).await,
            ExecEvent::Exit(code) => {
                // One that a signal ended has not tidied up.
                if let Some(lent) = lent.as_mut().filter(|_| code < 128) {
                    lent.leave_screen();
                }
                return Ok(End::Exited(code));
            }
            ExecEvent::Failed { code, message } => return Err(failed(code, message)),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::BrokenPipe),
            Err(error) => return Err(Failure::io("pass the command's output on", error)),
        }
    }
}

/// Passes our standard input on, unless that is done already.
fn feed(stdin: Option<ExecStdin>) {
    if let Some(stdin) = stdin {
        std::thread::spawn(move || pump(stdin));
    }
}

fn failed(code: String, message: String) -> Failure {
    match code.as_str() {
        "COMMAND_NOT_FOUND" => Failure::CommandNotFound(message),
        "COMMAND_NOT_EXECUTABLE" => Failure::CommandNotExecutable(message),
        _ => Failure::CommandFailed { code, message },
    }
}

/// Passes our standard input on until its end, or until the command is gone.
fn pump(stdin: ExecStdin) {
    let mut input = io::stdin().lock();
    let mut piece = vec![0; PIECE];
    loop {
        wait_for_terminal();
        match input.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                if !stdin.blocking_write(piece[..length].to_vec()) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    stdin.blocking_close();
}

/// Waits while we are in the background of our terminal: a read there would stop the whole program, although
/// the command may never ask for input.
fn wait_for_terminal() {
    let stdin = rustix::stdio::stdin();
    while isatty(stdin) && tcgetpgrp(stdin).is_ok_and(|foreground| foreground != getpgrp()) {
        std::thread::sleep(FOREGROUND_CHECK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collected_output_is_bounded_and_says_so() {
        let mut collected = vec![0; MAX_COLLECTED - 1];
        assert!(!collect(&mut collected, b"x"));
        assert!(collect(&mut collected, b"y"));
        assert_eq!(collected.len(), MAX_COLLECTED);
    }

    #[test]
    fn each_way_to_fail_has_its_exit_code() {
        let code = |code: &str| failed(code.to_owned(), String::new()).exit_code();
        assert_eq!(
            (code("COMMAND_NOT_FOUND"), code("COMMAND_NOT_EXECUTABLE"), code("WORKING_DIRECTORY")),
            (127, 126, 125)
        );
        assert_eq!((End::Exited(7).exit_code(), End::BrokenPipe.exit_code()), (7, 141));
    }
}
