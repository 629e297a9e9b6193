//! The driver of the daemon.

use std::sync::Arc;

use ebbtide::Home;
use ebbtide_driver::{Driver, DriverError};
use ebbtide_linux::{LinuxConfig, LinuxDriver};

use super::config::Config;
use crate::context::own_executable;

/// Connects to the runtime of `home`, and starts its launcher if there is none.
pub(crate) async fn connect(home: &Home, config: &Config) -> Result<Arc<dyn Driver>, DriverError> {
    let defaults = LinuxConfig::new(home.id(), home.state_dir(), home.run_dir());
    let driver = LinuxDriver::connect(LinuxConfig {
        launcher_exe: own_executable(),
        pool_slots: config.pool_slots().unwrap_or(defaults.pool_slots),
        disk_pool_bytes: config.disk_pool_bytes().unwrap_or(defaults.disk_pool_bytes),
        ..defaults
    });
    Ok(Arc::new(driver.await?))
}
