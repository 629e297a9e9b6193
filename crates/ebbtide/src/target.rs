//! Which daemon to call.

use crate::{Client, ConnectOptions, Error, HomeLocation, Remote, connect};

/// Which daemon to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one of a home on this machine, started if there is none.
    Home(HomeLocation),
    /// One that runs somewhere.
    Remote(Remote),
}

impl Target {
    /// The daemon that the environment names: by `EBBTIDE_URL`, else that of `EBBTIDE_HOME`, else of this user.
    ///
    /// # Errors
    /// When the environment is malformed or names none.
    pub fn from_env() -> Result<Self, Error> {
        match Remote::from_env()? {
            Some(remote) => Ok(Self::Remote(remote)),
            None => Ok(Self::Home(HomeLocation::from_env()?)),
        }
    }

    /// Whether the daemon is that of a home on this machine, so that a process can own its sandboxes.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Home(_))
    }

    /// Connects to the daemon; starts that of a home if there is none.
    ///
    /// # Errors
    /// When it cannot be reached or started, is not ours, or time is up.
    pub async fn connect(&self, options: &ConnectOptions) -> Result<Client, Error> {
        match self {
            Self::Home(location) => connect(&location.open()?, options).await,
            Self::Remote(remote) => remote.connect(options).await,
        }
    }
}
