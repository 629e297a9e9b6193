//! The driver of the daemon.

use std::sync::Arc;

use ebbtide::Home;
use ebbtide_driver::{Driver, DriverError};

use super::config::Config;

/// Connects to the runtime of `home`.
pub(crate) async fn connect(_home: &Home, _config: &Config) -> Result<Arc<dyn Driver>, DriverError> {
    Err(DriverError::Unsupported {
        missing: "this build has no runtime".to_owned(),
        help: "build a later version".to_owned(),
    })
}
