//! The daemon: a home, a driver, control and a server put together, and taken apart in the right order.

mod config;
mod driver;
mod image_config;
mod images;
mod inheritance;
mod lock;
mod log;
mod metrics;
mod ready;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ebbtide::{Home, HomeError, HomeLocation};
use ebbtide_control::{Control, ControlConfig, ControlError};
use ebbtide_driver::DriverError;
use ebbtide_linux::OwnCgroup;
use ebbtide_model::Invalid;
use ebbtide_server::{
    Keys, MetricsPort, NetworkConfig, RunKey, ServeEnd, Server, ServerConfig, ServerError, TlsFiles,
};
use thiserror::Error;
use tokio::task::JoinSet;
use tracing::{error, info};

pub(crate) use config::{Config, ConfigError};
pub(crate) use inheritance::shed;
pub(crate) use lock::DaemonLock;
pub(crate) use log::{LogFormat, start as start_log};
pub(crate) use ready::Ready;

use crate::images::AliasError;
use crate::signals::Signals;
use images::HomeImages;

/// How long a daemon that was started on first use waits for one that is just going.
const PREDECESSOR: Duration = Duration::from_secs(20);

/// Why a daemon could not run.
#[derive(Debug, Error)]
pub(crate) enum DaemonError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Another daemon serves the home.
    #[error("the home {} is served by another daemon already (process {pid})", state_dir.display())]
    Locked {
        /// The home.
        state_dir: PathBuf,
        /// The other daemon, as far as it is known.
        pid: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The aliases of images cannot be used.
    #[error(transparent)]
    Aliases(#[from] AliasError),
    /// This host cannot run sandboxes, or the runtime failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The ledger or the engine failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The socket cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A variable of the environment, or a value of the configuration, is out of range.
    #[error(transparent)]
    Environment(#[from] Invalid),
    /// The kernel refused.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl DaemonError {
    /// A failure of the kernel in `step`.
    pub(crate) fn io(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { step: step.into(), source: source.into() }
    }

    /// The command that helps, if one does.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("ebb shutdown"),
            Self::Driver(_) | Self::Control(_) => Some("ebb doctor"),
            Self::Server(ServerError::NoKey) => Some("ebb key create, or set EBBTIDE_API_KEY"),
            Self::Server(ServerError::Plaintext { .. }) => Some(
                "ebb serve --listen IP:PORT --tls-cert FILE --tls-key FILE; or --insecure, behind a proxy of your own",
            ),
            Self::Server(ServerError::MetricsRemote { .. }) => {
                Some("ebb serve --metrics 127.0.0.1:PORT, or --metrics-remote to let them")
            }
            _ => None,
        }
    }
}

/// What the command line says of a daemon.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// End after this time without work; `None` for never.
    pub(crate) idle_exit: Option<Duration>,
    /// The addresses to listen on; empty for those of the configuration.
    pub(crate) listen: Vec<SocketAddr>,
    /// Listen without TLS where other machines can reach it.
    pub(crate) insecure: bool,
    /// Where to offer the metrics; `None` for what the configuration says.
    pub(crate) metrics: Option<SocketAddr>,
    /// How many seconds a sandbox lives on after its owner; `None` for what the environment or the configuration says.
    pub(crate) orphan_grace: Option<String>,
    /// Let other machines read the metrics.
    pub(crate) metrics_remote: bool,
    /// The certificate and its key; `None` for those of the configuration.
    pub(crate) tls: Option<TlsFiles>,
}

/// What ends a daemon from outside the protocol.
enum Told {
    Signal(i32),
    HomeGone,
}

/// Runs the daemon of the home at `location` until it is over.
pub(crate) async fn run(
    location: &HomeLocation,
    settings: Settings,
    ready: &mut Ready,
) -> Result<(), DaemonError> {
    let mut signals = Signals::install()
        .map_err(|failure| DaemonError::io("listen for signals", io::Error::other(failure)))?;
    let home = &location.open()?;
    let lock = if ready.is_detached() {
        match DaemonLock::take_unless_served(home, PREDECESSOR).await? {
            Some(lock) => lock,
            // Somebody else has started one meanwhile: that is as good for the one who started us.
            None => return ready.announce(home, Vec::new(), None),
        }
    } else {
        DaemonLock::take_within(home, Duration::ZERO).await?
    };
    // Opened again: the one who held the lock before may have removed the run directory.
    let home = &location.open()?;
    let own_cgroup = ready.is_detached().then(|| OwnCgroup::enter(home.id()));
    if let Some(Err(problem)) = &own_cgroup {
        // Only a convenience is lost: a daemon that ends with its first caller's scope is started again.
        info!(%problem, "staying in the cgroup of the first caller");
    }
    let config = with_orphan_grace(Config::read(&home.config())?, &settings)?;
    let driver = driver::connect(home, &config).await?;
    let images = HomeImages::new(home, &config)?;
    let control = control_config(home, &config, images.clone())?;
    let control = Control::open(control, Arc::clone(&driver)).await?;
    let network = network(home, &config, &settings)?;
    let server = Server::bind(ServerConfig {
        socket: home.socket(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: home.id().to_owned(),
        state_dir: home.state_dir().to_owned(),
        // Whoever is to be reached from elsewhere cannot be started from there.
        idle_exit: settings.idle_exit.filter(|_| network.is_none() || !ready.is_detached()),
        limits: config.limits(),
        default_resources: config.default_resources(),
        network,
    })?;
    let metrics_port = metrics::port(&config, &settings)?;
    ready.announce(home, server.urls(), metrics_port.as_ref().map(MetricsPort::address))?;
    // Ended when it is dropped.
    let mut offered = JoinSet::new();
    if let Some(port) = metrics_port {
        info!(address = %port.address(), "offering metrics");
        offered.spawn(port.serve(metrics::registry(&control, &server)));
    }
    offered.spawn(images.clone().keep_within_bound(control.live()));
    offered.spawn(watch::keep_ledger(home.clone(), control.clone()));
    info!(home = home.id(), state_dir = %home.state_dir().display(), socket = %home.socket().display(), "serving");

    let mut told = None;
    let end = server
        .run(control.clone(), async {
            told = Some(tokio::select! {
                signal = signals.next() => Told::Signal(signal),
                () = watch::gone(home, &lock) => Told::HomeGone,
            });
        })
        .await;
    match (told, &end) {
        (Some(Told::HomeGone), _) => {
            info!("the home is gone; ending its sandboxes");
            if let Err(failure) = control.shutdown().await {
                error!(%failure, "the sandboxes did not end in order");
                driver.shutdown().await?;
            }
            home.remove_run_dir()?;
        }
        (_, Ok(ServeEnd::Shutdown)) => home.remove_run_dir()?,
        (told, _) => {
            let signal = if let Some(Told::Signal(signal)) = told { signal } else { 0 };
            info!(signal, "leaving the sandboxes to the next daemon");
            control.close().await;
        }
    }
    images.settled().await;
    // What still holds the ledger lets go of it, so that its log is moved into it: a home at rest has one file to copy.
    offered.shutdown().await;
    drop(control);
    drop(own_cgroup);
    // Held until nothing is left to do, so that a successor never meets us half gone.
    drop(lock);
    end?;
    Ok(())
}

/// The configuration with the grace of orphans that the command line or else the environment asks for.
fn with_orphan_grace(config: Config, settings: &Settings) -> Result<Config, DaemonError> {
    const VARIABLE: &str = "EBBTIDE_ORPHAN_GRACE";
    let variable = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let (source, seconds) = match &settings.orphan_grace {
        Some(seconds) => ("--orphan-grace", Some(seconds)),
        None => (VARIABLE, variable.as_ref()),
    };
    Ok(config.with_orphan_grace(source, seconds.map(String::as_str))?)
}

/// Where to listen on the network; `None` for nowhere.
fn network(home: &Home, config: &Config, settings: &Settings) -> Result<Option<NetworkConfig>, DaemonError> {
    let listen = if settings.listen.is_empty() { config.listen() } else { &settings.listen };
    if listen.is_empty() {
        return Ok(None);
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let organization = variable("EBBTIDE_ORGANIZATION");
    let run_key = variable("EBBTIDE_API_KEY")
        .map(|key| RunKey::new(&key, organization.as_deref().unwrap_or("default")))
        .transpose()?;
    Ok(Some(NetworkConfig {
        listen: listen.to_vec(),
        insecure: settings.insecure || config.insecure(),
        keys: Arc::new(Keys::new(run_key, home.keys())),
        tls: settings.tls.clone().or_else(|| config.tls()).map(|files| TlsFiles {
            cert: home.state_dir().join(files.cert),
            key: home.state_dir().join(files.key),
        }),
    }))
}

fn control_config(home: &Home, config: &Config, images: HomeImages) -> Result<ControlConfig, DaemonError> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let boot_id = std::fs::read_to_string(BOOT_ID)
        .map_err(|error| DaemonError::io(format!("read {BOOT_ID}"), error))?;
    let mut control = ControlConfig::new(home.ledger(), boot_id.trim());
    control.limits = config.limits();
    control.default_resources = config.default_resources();
    control.images = Arc::new(images);
    if let Some(creates) = config.max_concurrent_creates() {
        control.max_concurrent_creates = creates;
    }
    Ok(control)
}
