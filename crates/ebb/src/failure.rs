//! Why a verb did not succeed: words, the exit code that goes with them, and the command that helps.

use std::io;
use std::path::PathBuf;

use ebbtide_archive::ArchiveError;
use ebbtide_image::archive::{LoadError, SaveError};
use ebbtide_image::{ImageError, PullError};
use ebbtide_model::{ErrorReason, Invalid};
use ebbtide_server::KeyError;
use ebbtide_torture::TortureError;
use serde::Serialize;
use thiserror::Error;

use crate::daemon::DaemonError;
use crate::exit;
use crate::images::AliasError;
use crate::verbs::torture;

/// Why a verb did not succeed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Rootless mode is not built yet.
    #[error("Ebbtide needs root for now: sandboxes without root are not built yet")]
    NeedsRoot,
    /// The client refused or failed, or passed on what the daemon said.
    #[error(transparent)]
    Client(#[from] ebbtide::Error),
    /// The daemon could not run.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The API keys could not be read or changed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No sandbox begins with these letters.
    #[error("no sandbox has an id that begins with {prefix:?}")]
    NoSuchSandbox {
        /// What was asked for.
        prefix: String,
    },
    /// Several sandboxes do.
    #[error("{prefix:?} is the beginning of several ids: {}", ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some of those that match.
        ids: Vec<String>,
    },
    /// There is no terminal to connect.
    #[error("standard input is not a terminal, so there is none to connect a command to")]
    NoTerminal,
    /// What a terminal shows is for a person.
    #[error("what a terminal shows cannot be collected as JSON; leave --json or the terminal out")]
    TerminalAsJson,
    /// The aliases of images cannot be read or changed.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The image store refused or failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image could not be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// An image could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An image could not be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// No image has this name.
    #[error("there is no image {name} here")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// A name that always stands for something else.
    #[error("an image cannot be called host: that is the machine's own programs")]
    ReservedImageName,
    /// What to load was not said in a way that is understood.
    #[error(
        "say what to load, and maybe what to call it: FILE [NAME]; with --from-rootfs or --from-tar only NAME"
    )]
    LoadWords,
    /// An archive is not for people's eyes.
    #[error("an archive is nothing to type or to read; connect a file or a pipe instead of the terminal")]
    ArchiveOnTerminal,
    /// A directory is no stream.
    #[error("a directory cannot be written to standard output; name one, or use --format oci")]
    DirectoryToStdout,
    /// The program's name is empty.
    #[error("the command is empty; leave it out for a sandbox that idles")]
    EmptyCommand,
    /// Neither the caller nor the image says what to run.
    #[error("image {image:?} has no command of its own; say what to run")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// The command is not in the sandbox.
    #[error("{0}")]
    CommandNotFound(String),
    /// The command cannot be executed.
    #[error("{0}")]
    CommandNotExecutable(String),
    /// The command could not be run or was cut off.
    #[error("the command was not run to its end: {message}")]
    CommandFailed {
        /// The machine-readable cause.
        code: String,
        /// The words.
        message: String,
    },
    /// The sandbox could not be made.
    #[error("sandbox {id} could not be made: {reason}")]
    CreateFailed {
        /// The sandbox.
        id: String,
        /// Why.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} took longer than {seconds} s")]
    Slow {
        /// What.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The process that is to own the sandbox is not there.
    #[error("no process {pid} that could own the sandbox: {source}")]
    NoOwner {
        /// The process id.
        pid: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A process of this machine cannot own what is on another.
    #[error("--owner names a process, which a daemon that EBBTIDE_URL names cannot see end; use --lifetime")]
    OwnerElsewhere,
    /// The verb works on the home of this machine, and the environment names another daemon.
    #[error("{verb} works on the home of this machine, and EBBTIDE_URL names the daemon at {url}")]
    OtherDaemon {
        /// The verb.
        verb: &'static str,
        /// The daemon that is named.
        url: String,
    },
    /// A signal came, and what was begun has been undone.
    #[error("ended by signal {signal}")]
    Interrupted {
        /// The signal.
        signal: i32,
    },
    /// Some of several targets failed; each was reported.
    #[error("{failed} of {total} failed")]
    Partly {
        /// How many failed.
        failed: usize,
        /// How many there were.
        total: usize,
    },
    /// A copy from here to here, or from a sandbox to a sandbox.
    #[error("exactly one of the two must be in a sandbox: ID:PATH")]
    CopyEnds,
    /// A pipe, a device or a socket.
    #[error("{path:?} is neither a file nor a directory")]
    NotCopied {
        /// What is not copied.
        path: PathBuf,
    },
    /// A directory could not be packed or unpacked here.
    #[error("on this side of the copy: {0}")]
    Archive(#[from] ArchiveError),
    /// The kernel refused.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A system cannot be tortured.
    #[error(transparent)]
    Torture(#[from] TortureError),
    /// A directory could not be removed.
    #[error("the daemon ended and left {}", path.display())]
    Left {
        /// What it left.
        path: PathBuf,
    },
}

impl Failure {
    /// A failure of the kernel in `step`.
    pub(crate) fn io(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { step: step.into(), source: source.into() }
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::CommandNotFound(_) => exit::NOT_FOUND,
            Self::CommandNotExecutable(_) => exit::NOT_EXECUTABLE,
            Self::Partly { .. } => exit::PARTLY,
            Self::CopyEnds | Self::LoadWords | Self::DirectoryToStdout => exit::USAGE,
            Self::Interrupted { signal } => exit::of_signal(*signal),
            Self::Torture(error) => torture::exit_code(error),
            _ => exit::EBBTIDE,
        }
    }

    /// The command that helps, if one does.
    fn help(&self) -> Option<&'static str> {
        match self {
            Self::NeedsRoot => Some("sudo ebb ..."),
            Self::NoCommand { .. } => Some("ebb run --image NAME -- COMMAND"),
            Self::NoTerminal => Some("ebb exec ID -- COMMAND, without -t"),
            Self::NoSuchSandbox { .. } => Some("ebb list --all"),
            Self::Ambiguous { .. } => Some("ebb list"),
            Self::CommandNotFound(_) => Some("ebb run -- sh -c 'command -v NAME'"),
            Self::CommandNotExecutable(_) => Some("ebb run -- sh -c 'ls -l $(command -v NAME)'"),
            Self::Key(KeyError::NotFound { .. } | KeyError::Full) => Some("ebb key list"),
            Self::Slow { .. } | Self::Left { .. } => Some("ebb doctor"),
            Self::OtherDaemon { .. } => Some("env -u EBBTIDE_URL ebb ..."),
            Self::NoOwner { .. } => Some("ps -e"),
            Self::CopyEnds => Some("ebb cp --help"),
            Self::NoSuchImage { .. } => Some("ebb image list"),
            Self::LoadWords => Some("ebb image load --help"),
            Self::Torture(TortureError::NeedsRoot) => Some("sudo ebb torture ..."),
            Self::Torture(_) => Some("ebb torture --help"),
            Self::CreateFailed { .. } => Some("ebb create --help"),
            Self::Client(error) => client_help(error),
            Self::Daemon(error) => error.help(),
            _ => None,
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, json: bool) {
        // Whoever sent the signal knows.
        if matches!(self, Self::Interrupted { .. }) {
            return;
        }
        let help = self.help();
        if json {
            let client = match self {
                Self::Client(error) => error.rejection(),
                _ => None,
            };
            let fields = client.map_or(&[][..], |rejection| &rejection.fields);
            let error = ErrorView {
                message: self.to_string(),
                reason: match self {
                    Self::Client(error) => error.reason(),
                    _ => None,
                },
                fields: fields
                    .iter()
                    .map(|field| FieldView { field: &field.field, description: &field.description })
                    .collect(),
                help,
                exit_code: self.exit_code(),
            };
            if let Ok(text) = serde_json::to_string(&Report { error }) {
                eprintln!("{text}");
            }
            return;
        }
        eprintln!("ebb: {self}");
        if let Some(help) = help {
            eprintln!("  try: {help}");
        }
    }
}

fn client_help(error: &ebbtide::Error) -> Option<&'static str> {
    if error.is_disconnect() {
        return Some("ebb doctor");
    }
    match error {
        ebbtide::Error::NoDaemon { .. } => return Some("ebb serve"),
        ebbtide::Error::StartFailed { .. } | ebbtide::Error::TimedOut { .. } => return Some("ebb doctor"),
        ebbtide::Error::Owned(_) => return Some("ebb why ID"),
        ebbtide::Error::NoReceipt { .. } => return Some("ebb why ID, or ebb doctor"),
        _ => {}
    }
    let reason = error.rejection()?.reason.as_deref()?;
    let known = ErrorReason::ALL.into_iter().find(|known| known.as_str() == reason)?;
    match known {
        ErrorReason::Unauthenticated => {
            Some("ebb key create on the daemon's machine, then set EBBTIDE_API_KEY")
        }
        ErrorReason::SandboxNotFound | ErrorReason::SandboxNotRunning => Some("ebb list --all"),
        ErrorReason::SandboxPaused => Some("ebb resume ID"),
        ErrorReason::SandboxOwned => Some("ebb why ID"),
        ErrorReason::PlanStale => Some("the same ebb purge without --confirm, for a new plan"),
        ErrorReason::ReceiptUnavailable => Some("ebb why ID"),
        ErrorReason::CapacityExhausted => Some("ebb list, then ebb stop ID"),
        ErrorReason::BackendUnavailable | ErrorReason::Internal => Some("ebb doctor"),
        ErrorReason::InvalidRequest | ErrorReason::NotImplemented | ErrorReason::SnapshotNotSupported => {
            Some("ebb help")
        }
        _ => None,
    }
}

#[derive(Serialize)]
struct Report<'a> {
    error: ErrorView<'a>,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    message: String,
    reason: Option<&'a str>,
    fields: Vec<FieldView<'a>>,
    help: Option<&'a str>,
    exit_code: u8,
}

#[derive(Serialize)]
struct FieldView<'a> {
    field: &'a str,
    description: &'a str,
}
