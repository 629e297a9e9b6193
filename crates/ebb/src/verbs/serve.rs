//! `ebb serve`: the daemon of a home.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ebbtide_server::TlsFiles;

use crate::context::Context;
use crate::daemon::{self, DaemonError, LogFormat, Ready, Settings};
use crate::failure::Failure;

/// Serve this home in the foreground
///
/// Rarely needed: every verb starts a daemon when there is none. Ctrl-C or SIGTERM ends the daemon and leaves
/// the sandboxes to the next one; `ebb shutdown` ends both. Settings are read from `ebbtide.toml` in the home.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb serve --log-format json
  ebb key create && ebb serve --listen 127.0.0.1:8080")]
pub(crate) struct Serve {
    /// End after this time without a sandbox and without a client.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    idle_exit: Option<u64>,
    /// Also listen on this address of the network; may be repeated. Port 0 lets the kernel choose one.
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen without TLS on addresses that other machines can reach: keys and data are readable on the way.
    #[arg(long)]
    insecure: bool,
    /// Offer metrics in Prometheus' text format on this address, at /metrics. Port 0 lets the kernel choose one.
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// Let other machines read the metrics. They tell how much is going on here, and nothing of what.
    #[arg(long, requires = "metrics")]
    metrics_remote: bool,
    /// How long a sandbox lives on after its owner, unless it says so itself: so long it can be adopted. Also
    /// EBBTIDE_ORPHAN_GRACE.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    orphan_grace: Option<String>,
    /// Speak TLS with this certificate (PEM, with its chain). A new one is used as soon as it is there.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The form of the log on standard error; EBBTIDE_LOG sets what is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Started on first use: leave the terminal, say `ready` on standard output and let go of it.
    #[arg(long, hide = true)]
    detached: bool,
}

impl Serve {
    /// Lets go of what the starter left us. Must come before any thread and any file.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        Ok(daemon::shed(self.detached)?)
    }

    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut ready = match (self.detached, context.json) {
            (true, _) => Ready::Detached,
            (false, true) => Ready::Json,
            (false, false) => Ready::Silent,
        };
        let settings = Settings {
            idle_exit: self.idle_exit.map(Duration::from_secs),
            listen: self.listen,
            insecure: self.insecure,
            metrics: self.metrics,
            metrics_remote: self.metrics_remote,
            orphan_grace: self.orphan_grace,
            tls: self.tls_cert.zip(self.tls_key).map(|(cert, key)| tls_files(&cert, &key)).transpose()?,
        };
        let log = daemon::start_log(self.log_format).map_err(|refused| DaemonError::from(refused).into());
        let served = match log {
            Ok(()) => serve(context, settings, &mut ready).await,
            Err(failure) => Err(failure),
        };
        served.inspect_err(|failure| ready.fail(failure))?;
        Ok(0)
    }
}

async fn serve(context: &Context, settings: Settings, ready: &mut Ready) -> Result<(), Failure> {
    let location = context.location()?;
    Ok(daemon::run(&location, settings, ready).await?)
}

/// The files as seen from anywhere.
fn tls_files(cert: &Path, key: &Path) -> Result<TlsFiles, Failure> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::io(format!("find {}", path.display()), error))
    };
    Ok(TlsFiles { cert: absolute(cert)?, key: absolute(key)? })
}
