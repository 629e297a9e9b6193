//! Commands on a terminal.

use std::time::Duration;

use ebbtide_model::{Command, ExitStatus, SandboxId};
use tokio::io::AsyncWriteExt;

use super::context::{Context, Failure, Ran, ensure, ensure_eq, same_bytes, sh, stdin, words, write};
use super::scripts;
use crate::{Exec, ExecRequest, WindowSize};

const SIZE: WindowSize = WindowSize { columns: 101, rows: 33 };
const INTERRUPT: &[u8] = b"\x03";
const END_OF_FILE: &[u8] = b"\x04";

impl Context<'_> {
    async fn on_terminal(&self, id: &SandboxId, command: Command, size: WindowSize) -> Result<Exec, Failure> {
        let request = ExecRequest { command, stdin: true, terminal: Some(size) };
        self.soon("exec on a terminal", self.driver()?.exec(id, request)).await
    }

    /// Everything that a terminal shows until the command's end.
    async fn shown(&self, exec: &mut Exec) -> Result<(String, ExitStatus), Failure> {
        let Ran { stdout, stderr, status } = self.finish(exec).await?;
        ensure(stderr.is_empty(), || "what a terminal shows is not all on one stream".to_owned())?;
        Ok((String::from_utf8_lossy(&stdout).into_owned(), status))
    }
}

pub(super) async fn terminal_is_one_inside_and_has_its_size(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    ensure(!context.holds(&id, scripts::IS_ON_A_TERMINAL, "").await?, || {
        "a command that asked for none has a terminal".to_owned()
    })?;
    for (size, told) in [(SIZE, "33 101"), (WindowSize { columns: 0, rows: 0 }, "24 80")] {
        let mut exec = context.on_terminal(&id, sh(scripts::SHOW_TERMINAL, &[]), size).await?;
        let shown = context.shown(&mut exec).await?;
        ensure_eq("terminal", shown.0, format!("xterm-256color\r\n{told}\r\n"))?;
        ensure_eq("whether it is a terminal", shown.1, ExitStatus::Code(0))?;
    }
    let mut own = sh(scripts::SHOW_TERMINAL, &[]);
    own.env.insert("TERM".to_owned(), "dumb".to_owned());
    let mut exec = context.on_terminal(&id, own, SIZE).await?;
    let shown = context.shown(&mut exec).await?.0;
    ensure_eq("terminal of the caller's kind", shown.as_str(), "dumb\r\n33 101\r\n")
}

pub(super) async fn resize_is_seen_inside(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.on_terminal(&id, sh(scripts::SHOW_NEW_SIZE, &[]), SIZE).await?;
    ensure_eq("first line", context.line(&mut exec).await?.as_str(), "ready")?;
    let size = WindowSize { columns: 77, rows: 22 };
    context.soon("resize", exec.control.resize(size)).await?;
    ensure_eq("size", context.shown(&mut exec).await?.0.as_str(), "22 77\r\n")?;
    context.soon("resize after the exit", exec.control.resize(size)).await
}

pub(super) async fn interrupt_byte_is_a_signal_for_the_foreground(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.on_terminal(&id, sh(scripts::HANDLES_INTERRUPT, &[]), SIZE).await?;
    ensure_eq("first line", context.line(&mut exec).await?.as_str(), "ready")?;
    let mut keyboard = stdin(&mut exec)?;
    write(context, &mut keyboard, INTERRUPT).await?;
    ensure_eq("end", context.shown(&mut exec).await?, ("^C".to_owned(), ExitStatus::Code(6)))
}

pub(super) async fn end_of_file_byte_ends_the_input(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.on_terminal(&id, words(&["cat"]), SIZE).await?;
    let mut keyboard = stdin(&mut exec)?;
    write(context, &mut keyboard, b"line\r").await?;
    write(context, &mut keyboard, END_OF_FILE).await?;
    let shown = context.shown(&mut exec).await?;
    ensure_eq("echo and output", shown, ("line\r\nline\r\n".to_owned(), ExitStatus::Code(0)))
}

/// Also within a line, where the terminal's own end of file only hands over what has been typed.
pub(super) async fn shutting_the_keyboard_down_ends_the_input(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    for (typed, expected) in [("line\r", "line\r\nline\r\n"), ("half", "halfhalf")] {
        let mut exec = context.on_terminal(&id, words(&["cat"]), SIZE).await?;
        let mut keyboard = stdin(&mut exec)?;
        write(context, &mut keyboard, typed.as_bytes()).await?;
        let down = context.bounded("shutting the keyboard down", keyboard.shutdown()).await?;
        down.map_err(|error| Failure::Broken(format!("shutting the keyboard down: {error}")))?;
        let shown = context.shown(&mut exec).await?;
        ensure_eq("echo and output", shown, (expected.to_owned(), ExitStatus::Code(0)))?;
    }
    Ok(())
}

pub(super) async fn terminal_is_hung_up_with_its_stream(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.on_terminal(&id, sh(scripts::HANDLES_HANG_UP, &[]), SIZE).await?;
    ensure_eq("first line", context.line(&mut exec).await?.as_str(), "ready")?;
    // Whoever still holds the keyboard does not hold the terminal.
    let Exec { stdin: _keyboard, events, control: _control } = exec;
    drop(events);
    context
        .eventually("the end of the stream is a hang-up", || context.holds(&id, scripts::IS_MARKED, ""))
        .await
}

pub(super) async fn everything_a_terminal_showed_comes_before_the_exit(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let id = context.idle().await?;
    // The child that is left behind keeps the terminal open.
    let mut exec = context.on_terminal(&id, sh(scripts::COUNT_AND_LEAVE_A_CHILD, &[]), SIZE).await?;
    // Slower than the command, so that the end of its output is still in the terminal when it exits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut shown = context.finish(&mut exec).await?.stdout;
    shown.retain(|byte| *byte != b'\r');
    same_bytes(&shown, scripts::counted())
}
