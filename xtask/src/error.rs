//! What can go wrong in a chore.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

/// Why a chore failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("`{program}` could not be started: {source}; install it and try again")]
    Spawn { program: String, source: io::Error },
    #[error("`{command}` failed ({status}); its output is above")]
    Failed { command: String, status: ExitStatus },
    #[error("`{program}` said something unexpected: {what}")]
    Unexpected { program: &'static str, what: String },
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "packages are missing ({packages}) and only root can install them; run as root, or install them first"
    )]
    NotRoot { packages: String },
    #[error(
        "{package} is not installed; `cargo xtask bench --install` installs what Ebbtide is compared with"
    )]
    NoRival { package: &'static str },
    #[error(
        "the interface of `{package}` is not what {listing} says (above: - went, + came); if that is meant, tell it in \
         CHANGELOG.md and run `cargo xtask api --accept`"
    )]
    InterfaceChanged { package: &'static str, listing: &'static str },
    #[error(
        "{path} has {bytes} bytes, more than {limit}; look at what it holds, or raise the limit if all of it is needed"
    )]
    WheelTooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("the virtual machine with Linux {kernel} did not finish within {limit:?}; see {console}")]
    VmTimeout { kernel: String, limit: Duration, console: PathBuf },
    #[error("the checks failed under Linux {kernels}; see {directory}")]
    VmFailed { kernels: String, directory: PathBuf },
}

impl Error {
    /// A file that could not be read, written or made.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
