//! How a daemon says that it can be called.
//!
//! In the foreground it says so to whoever asked for JSON. Started on first use, its standard output is a pipe
//! to the one who started it: `ready` goes there, or the error, and then the pipe is let go of, so that nobody
//! waits for its end.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;

use ebbtide::Home;
use rustix::stdio::dup2_stdout;
use serde::Serialize;

use super::DaemonError;

/// To whom a daemon says that it can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// To whoever reads; only what cannot be known otherwise.
    Silent,
    /// To the reader of its standard output, as JSON.
    Json,
    /// To the one who started it.
    Detached,
}

/// The stable shape of the line of `ebb serve --json`.
#[derive(Serialize)]
struct ReadyView<'a> {
    event: &'static str,
    home_id: &'a str,
    state_dir: String,
    socket: String,
    listen: Vec<String>,
    metrics: Option<String>,
    pid: u32,
}

impl Ready {
    /// Whether the daemon was started on first use.
    pub(crate) fn is_detached(self) -> bool {
        self == Self::Detached
    }

    /// Says that the daemon can be called, and on which addresses besides its socket.
    /// The metrics are offered at `metrics`.
    pub(crate) fn announce(
        &mut self,
        home: &Home,
        listen: Vec<String>,
        metrics: Option<SocketAddr>,
    ) -> Result<(), DaemonError> {
        let metrics = metrics.map(|address| format!("http://{address}/metrics"));
        match self {
            Self::Silent => {
                for url in listen {
                    say(&format!("listening on {url}"));
                }
                if let Some(url) = metrics {
                    say(&format!("metrics at {url}"));
                }
                Ok(())
            }
            Self::Json => {
                let view = ReadyView {
                    event: "ready",
                    home_id: home.id(),
                    state_dir: home.state_dir().display().to_string(),
                    socket: home.socket().display().to_string(),
                    listen,
                    metrics,
                    pid: std::process::id(),
                };
                let line = serde_json::to_string(&view)
                    .map_err(|error| DaemonError::io("write JSON", std::io::Error::other(error)))?;
                say(&line);
                Ok(())
            }
            Self::Detached => {
                say("ready");
                *self = Self::Silent;
                let nothing = File::options()
                    .write(true)
                    .open("/dev/null")
                    .map_err(|error| DaemonError::io("open /dev/null", error))?;
                dup2_stdout(&nothing).map_err(|error| DaemonError::io("let go of standard output", error))
            }
        }
    }

    /// Tells the one who started the daemon why it did not come up.
    pub(crate) fn fail(self, error: &impl Display) {
        if self.is_detached() {
            say(&error.to_string());
        }
    }
}

/// Whoever does not listen any more has no need to know.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
