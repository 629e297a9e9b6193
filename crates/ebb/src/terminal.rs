//! Our own terminal, lent to a command in a sandbox.
//!
//! While it is lent, our terminal passes everything on as it comes: Ctrl-C is a byte for the command's terminal, which
//! knows whom it is for. The settings are given back when the guard goes, which it does on every way out that the
//! program itself takes: an end, an error, a signal, a panic.

use std::collections::BTreeMap;
use std::io::Write as _;

use clap::Args;
use ebbtide::{ExecResizer, WindowSize};
use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::Context;
use crate::failure::Failure;
use crate::screen::Screen;

/// Whether a command gets a terminal.
#[derive(Debug, Args)]
pub(crate) struct TerminalArgs {
    /// Pass standard input on; without -t that is done anyway.
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Run the command on a terminal, which is shown on ours; with -i what is typed goes to it as it comes, Ctrl-C too.
    #[arg(long, short = 't')]
    tty: bool,
}

impl TerminalArgs {
    /// What `ebb shell` asks for.
    pub(crate) const SHELL: Self = Self { interactive: true, tty: true };

    /// Our terminal, if the command is to be connected to it.
    pub(crate) fn open(&self, context: &Context) -> Result<Option<Terminal>, Failure> {
        if !self.tty {
            return Ok(None);
        }
        if context.json {
            return Err(Failure::TerminalAsJson);
        }
        if !isatty(rustix::stdio::stdin()) {
            return Err(Failure::NoTerminal);
        }
        Ok(Some(Terminal { typing: self.interactive }))
    }
}

/// Our terminal, as standard input shows it.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Whether what is typed is for the command.
    pub(crate) typing: bool,
}

impl Terminal {
    /// Its size; what it does not tell is the usual.
    pub(crate) fn size(&self) -> WindowSize {
        tcgetwinsize(rustix::stdio::stdin())
            .map(|size| WindowSize { columns: size.ws_col, rows: size.ws_row })
            .unwrap_or_default()
            .or_usual()
    }

    /// Tells the command what kind of terminal it has, unless the environment says so already.
    pub(crate) fn name(&self, env: &mut BTreeMap<String, String>) {
        if let Some(kind) = std::env::var("TERM").ok().filter(|kind| !kind.is_empty()) {
            env.entry("TERM".to_owned()).or_insert(kind);
        }
    }

    /// Lends it to a command that runs, whose terminal has the size `told`.
    pub(crate) fn lend(&self, resizer: ExecResizer, told: WindowSize) -> Result<Lent<'_>, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::io("listen for signals", error));
        let window = listen(SignalKind::window_change())?;
        let resumed = listen(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let raw = if self.typing { Some(Raw::enter()?) } else { None };
        Ok(Lent { terminal: self, resizer, told, window, resumed, raw, screen: Some(Screen::default()) })
    }
}

/// Our terminal, while it is a command's.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    terminal: &'a Terminal,
    resizer: ExecResizer,
    told: WindowSize,
    window: Signal,
    resumed: Signal,
    raw: Option<Raw>,
    /// What is to be put in order afterwards; nothing once the command has done so.
    screen: Option<Screen>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(screen) = &self.screen
            && isatty(rustix::stdio::stdout())
        {
            let mut stdout = std::io::stdout().lock();
            // Whoever has taken the terminal away needs none of it.
            let _ = stdout.write_all(screen.undo().as_bytes()).and_then(|()| stdout.flush());
        }
    }
}

impl Lent<'_> {
    /// Takes note of what is about to be shown.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        if let Some(screen) = &mut self.screen {
            screen.show(bytes);
        }
    }

    /// The command has ended by itself, and left the screen as it wants it.
    pub(crate) fn leave_screen(&mut self) {
        self.screen = None;
    }

    /// Keeps the command's terminal like ours: its size, and its settings after we were stopped, when others may
    /// have changed them. Never ends; safe to drop at any await.
    pub(crate) async fn keep_up(&mut self) {
        loop {
            let size = self.terminal.size();
            if size != self.told {
                self.resizer.resize(size).await;
                self.told = size;
            }
            tokio::select! {
                changed = self.window.recv() => if changed.is_none() { return std::future::pending().await },
                resumed = self.resumed.recv() => match (resumed, &self.raw) {
                    (None, _) => return std::future::pending().await,
                    (Some(()), Some(raw)) => raw.apply(),
                    (Some(()), None) => {}
                },
            }
        }
    }
}

/// The settings that our terminal had before.
#[derive(Debug)]
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self, Failure> {
        let before = tcgetattr(rustix::stdio::stdin());
        let before = before.map_err(|errno| Failure::io("read the terminal's settings", errno))?;
        let raw = Self { before };
        raw.apply();
        Ok(raw)
    }

    fn apply(&self) {
        let mut settings = self.before.clone();
        settings.make_raw();
        set(&settings);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        set(&self.before);
    }
}

/// Not from the background: the terminal is somebody else's then, and the kernel would stop us for it.
fn set(settings: &Termios) {
    let stdin = rustix::stdio::stdin();
    if tcgetpgrp(stdin).is_ok_and(|foreground| foreground == getpgrp()) {
        // At once: what is still to be shown may never be, with a reader that does not read.
        let _ = tcsetattr(stdin, OptionalActions::Now, settings);
    }
}
