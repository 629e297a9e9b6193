//! Which daemon to call, and with which `ebb` to start one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use ebbtide::{ConnectOptions, Connection, Error, ProcessLocal, Remote, Target};

/// The `ebb` of the package, if it has one.
static EXECUTABLE: RwLock<Option<PathBuf>> = RwLock::new(None);

/// Connections to addresses that were given by hand.
static BY_URL: ProcessLocal<Mutex<BTreeMap<String, Connection>>> = ProcessLocal::new();

/// Sets the `ebb` that a daemon is started with unless `EBBTIDE_BIN` names another.
pub(crate) fn set_executable(path: PathBuf) {
    *EXECUTABLE.write().unwrap_or_else(PoisonError::into_inner) = Some(path);
}

fn options() -> ConnectOptions {
    let named = std::env::var_os("EBBTIDE_BIN").is_some_and(|name| !name.is_empty());
    let packaged = || EXECUTABLE.read().unwrap_or_else(PoisonError::into_inner).clone();
    let executable = if named { None } else { packaged().filter(|path| path.exists()) };
    ConnectOptions { executable, ..ConnectOptions::default() }
}

/// The daemon at this address, called with the key of the environment; that of the environment if there is none.
pub(crate) fn connection(url: Option<&str>) -> Result<Connection, Error> {
    let Some(url) = url else { return Connection::from_env_with(options()) };
    let mut known = BY_URL.get().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(connection) = known.get(url) {
        return Ok(connection.clone());
    }
    let mut remote: Remote = url.parse()?;
    if let Ok(key) = std::env::var("EBBTIDE_API_KEY") {
        remote = remote.with_key(&key)?;
    }
    if let Some(file) = std::env::var_os("EBBTIDE_CA_FILE") {
        remote = remote.with_ca_file(file);
    }
    let connection = Connection::to(Target::Remote(remote), options());
    known.insert(url.to_owned(), connection.clone());
    Ok(connection)
}
