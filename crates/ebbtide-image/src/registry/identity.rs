//! Who we are for one repository of one registry.

use std::path::PathBuf;

use super::config::RegistryConfig;
use super::credentials::{Credentials, Login, LoginOrigin};
use super::docker_config;
use super::error::PullProblem;

/// Who we are for one repository of one registry.
pub(super) struct Identity {
    /// What the registry is called in names and files.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) login: Login,
    origin: LoginOrigin,
}

impl Identity {
    /// With these credentials of a request, or else with those of the machine.
    pub(super) async fn new(
        config: &RegistryConfig,
        registry: &str,
        repository: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PullProblem> {
        let (login, origin) = match (credentials, &config.docker_config) {
            (Some(credentials), _) => (Login::Password(credentials.clone()), LoginOrigin::Request),
            (None, Some(path)) => {
                (docker_config::login(path, registry).await?, LoginOrigin::DockerConfig(path.clone()))
            }
            (None, None) => (Login::Anonymous, LoginOrigin::DockerConfig(PathBuf::new())),
        };
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Ok(Self { registry, repository, login, origin })
    }

    /// Whether nobody has told us who we are.
    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self.login, Login::Anonymous)
    }

    /// Whoever decides does not know us.
    pub(super) fn refused(&self) -> PullProblem {
        let repository = self.repository.clone();
        match &self.login {
            Login::Anonymous => {
                let login = if self.registry == "docker.io" { "" } else { &self.registry };
                PullProblem::NoCredentials { repository, login: login.to_owned() }
            }
            _ => PullProblem::WrongCredentials { username: self.username(), origin: self.origin.clone() },
        }
    }

    /// Whoever decides knows us, and does not let us.
    pub(super) fn forbidden(&self) -> PullProblem {
        match &self.login {
            Login::Anonymous => self.refused(),
            _ => PullProblem::Forbidden {
                who: format!("{:?}", self.username()),
                repository: self.repository.clone(),
            },
        }
    }

    fn username(&self) -> String {
        match &self.login {
            Login::Password(credentials) => credentials.username.clone(),
            Login::IdentityToken(_) | Login::Anonymous => "token".to_owned(),
        }
    }
}
