//! The metrics of a daemon, put together and offered where the command line or the configuration says.

use ebbtide_control::Control;
use ebbtide_server::{MetricsPort, Server, ServerError};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Settings;
use super::config::Config;

/// The port to offer the metrics on; `None` for nowhere.
pub(crate) fn port(config: &Config, settings: &Settings) -> Result<Option<MetricsPort>, ServerError> {
    let (listen, remote) = config.metrics();
    let remote = remote || settings.metrics_remote;
    settings.metrics.or(listen).map(|address| MetricsPort::bind(address, remote)).transpose()
}

/// Everything that is counted.
pub(crate) fn registry(control: &Control, server: &Server) -> Registry {
    let mut registry = Registry::with_prefix("ebbtide");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The daemon that answers", build);
    control.register_metrics(&mut registry);
    server.register_metrics(&mut registry);
    registry
}
