//! How registries are spoken to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ebbtide_model::Invalid;

use super::docker_config;
use crate::Platform;

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// What is said of single registries, by their names as they are in an image's: `docker.io`, `localhost:5000`.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// The file with the credentials of this machine; `None` for none.
    pub docker_config: Option<PathBuf>,
    /// What kind of machine images are for.
    pub platform: Platform,
    /// How long one pull may take.
    pub timeout: Duration,
    /// How long a registry may be silent.
    pub stall: Duration,
    /// How many pulls run at once; more wait their turn.
    pub pulls: usize,
    /// How many layers of one image are fetched at once.
    pub downloads: usize,
    /// How many layers of all images are unpacked at once.
    pub unpacks: usize,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            docker_config: docker_config::default_path(),
            platform: Platform::of_this_machine(),
            timeout: Duration::from_secs(3600),
            stall: Duration::from_secs(30),
            pulls: 16,
            downloads: 3,
            // Unpacking is bound by the processor, and sandboxes want some of it too.
            unpacks: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
        }
    }
}

/// What is said of one registry.
#[derive(Debug, Clone, Default)]
pub struct RegistrySettings {
    /// Where its images are looked for first, in this order.
    pub mirrors: Vec<Mirror>,
    /// Whether it speaks no TLS.
    pub plain_http: bool,
    /// The authorities that sign its certificate, in PEM, besides those that the machine trusts.
    pub ca: Option<PathBuf>,
}

/// Another registry that has the same images under the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its host and port.
    pub(super) host: String,
    /// Whether it was written with `http://`.
    pub(super) plain_http: bool,
}

impl std::str::FromStr for Mirror {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (host, plain_http) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(host), _) => (host, true),
            (None, Some(host)) => (host, false),
            (None, None) => (text, false),
        };
        check_host("mirrors", host.trim_end_matches('/'))?;
        Ok(Self { host: host.trim_end_matches('/').to_owned(), plain_http })
    }
}

/// Whether `host` is a host with or without a port.
///
/// # Errors
/// When it is not, naming `field`.
pub fn check_host(field: &str, host: &str) -> Result<(), Invalid> {
    // A URL with anything but a host and a port reads back as something else.
    let read = reqwest::Url::parse(&format!("https://{host}/"));
    let whole = read.is_ok_and(|url| {
        let (Some(name), port) = (url.host_str(), url.port()) else { return false };
        let again = port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        again == host.to_ascii_lowercase() || format!("{again}:443") == host.to_ascii_lowercase()
    });
    if whole {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{host:?} is no host"), "HOST or HOST:PORT, e.g. mirror.example:5000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_host_and_at_most_says_that_it_speaks_no_tls() {
        for (text, host, plain_http) in [
            ("mirror.example", "mirror.example", false),
            ("https://mirror.example:443/", "mirror.example:443", false),
            ("http://10.0.0.5:5000", "10.0.0.5:5000", true),
            ("[::1]:5000", "[::1]:5000", false),
        ] {
            assert_eq!(text.parse(), Ok(Mirror { host: host.to_owned(), plain_http }), "{text}");
        }
        for bad in
            ["", "mirror/path", "user@mirror", "ftp://mirror", "mirror:port", "a b", "mirror?x", "mirror#x"]
        {
            assert!(bad.parse::<Mirror>().is_err(), "{bad}");
        }
    }
}
