//! `ebbtide.toml`, the optional configuration of a daemon. A key that is not known is an error: a bound that was
//! misspelled must not be missing silently.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebbtide_image::{RegistryConfig, SecretStores};
use ebbtide_model::{Amounts, EffectiveResources, ImageAliases, Invalid, Limits, Quantity, Resources};
use ebbtide_server::TlsFiles;
use serde::Deserialize;
use thiserror::Error;

use super::image_config::{self, ImagesTable, SecretTable};

/// A year: no sandbox is immortal.
const LONGEST_SECONDS: u64 = 365 * 86_400;
const SMALLEST_DISK: u64 = 16 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {}", path.display(), source.to_string().trim_end())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is out of range.
    #[error("{}: {source}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which and why.
        #[source]
        source: Invalid,
    },
}

/// The configuration, checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    limits: LimitsTable,
    defaults: DefaultsTable,
    runtime: RuntimeTable,
    server: ServerTable,
    metrics: MetricsTable,
    images: ImagesTable,
    secrets: BTreeMap<String, SecretTable>,
}

/// `[limits]`: what requests are held to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    max_lifetime_seconds: Option<u64>,
    unowned_lifetime_seconds: Option<u64>,
    owner_grace_seconds: Option<u64>,
    daemon_grace_seconds: Option<u64>,
    keep_for_seconds: Option<u64>,
    max_stop_grace_seconds: Option<u64>,
    retention_seconds: Option<u64>,
}

/// `[defaults]`: what a sandbox may use that asks for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DefaultsTable {
    cpu: Option<Quantity>,
    memory: Option<Quantity>,
    disk: Option<Quantity>,
    pids: Option<u64>,
}

/// `[runtime]`: how sandboxes are made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuntimeTable {
    pool_slots: Option<usize>,
    disk_pool: Option<Quantity>,
    max_concurrent_creates: Option<usize>,
}

/// `[server]`: where the daemon listens besides its socket.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerTable {
    listen: Vec<SocketAddr>,
    insecure: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

/// `[metrics]`: where what the daemon counts can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetricsTable {
    listen: Option<SocketAddr>,
    remote: bool,
}

impl Config {
    /// Reads it; a file that is not there leaves everything at its default.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        config.check().map_err(|source| ConfigError::Value { path: path.to_owned(), source })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Invalid> {
        self.aliases()?;
        self.images.check()?;
        let LimitsTable {
            max_lifetime_seconds,
            unowned_lifetime_seconds,
            owner_grace_seconds,
            daemon_grace_seconds,
            keep_for_seconds,
            max_stop_grace_seconds,
            retention_seconds,
        } = self.limits;
        within("limits.max_lifetime_seconds", max_lifetime_seconds, 1, LONGEST_SECONDS)?;
        let longest = self.limits().max_lifetime.as_secs();
        within("limits.unowned_lifetime_seconds", unowned_lifetime_seconds, 1, longest)?;
        within("limits.owner_grace_seconds", owner_grace_seconds, 0, longest)?;
        within("limits.daemon_grace_seconds", daemon_grace_seconds, 1, longest)?;
        within("limits.keep_for_seconds", keep_for_seconds, 1, longest)?;
        within("limits.max_stop_grace_seconds", max_stop_grace_seconds, 0, longest)?;
        within("limits.retention_seconds", retention_seconds, 0, LONGEST_SECONDS)?;
        let DefaultsTable { cpu, memory, disk, pids } = &self.defaults;
        let asked = Amounts { cpu: cpu.clone(), memory: memory.clone() };
        Resources { requests: Amounts::default(), limits: asked }
            .effective(EffectiveResources::default())
            .map_err(|refused| Invalid {
                field: refused.field.replace("resources.limits", "defaults"),
                ..refused
            })?;
        let bytes =
            |quantity: &Option<Quantity>| quantity.as_ref().map(|size| size.units().unwrap_or(u64::MAX));
        within("defaults.disk", bytes(disk), SMALLEST_DISK, 1 << 50)?;
        within("defaults.pids", *pids, 1, 4 << 20)?;
        within("runtime.disk_pool", bytes(&self.runtime.disk_pool), 1 << 30, 1 << 50)?;
        within("runtime.pool_slots", self.runtime.pool_slots.map(|slots| slots as u64), 0, 1024)?;
        let creates = self.runtime.max_concurrent_creates.map(|creates| creates as u64);
        within("runtime.max_concurrent_creates", creates, 1, 1024)?;
        if self.server.tls_cert.is_some() != self.server.tls_key.is_some() {
            let accepted = "tls_cert and tls_key, both or neither";
            return Err(Invalid::new("server.tls_cert", "is one half of a pair", accepted));
        }
        Ok(())
    }

    /// The same with another grace of orphans, where one is given: in seconds, by what is named `source`.
    pub(crate) fn with_orphan_grace(mut self, source: &str, seconds: Option<&str>) -> Result<Self, Invalid> {
        let Some(text) = seconds else { return Ok(self) };
        let longest = self.limits().max_lifetime.as_secs();
        let seconds = text.parse().ok().filter(|seconds| *seconds <= longest).ok_or_else(|| {
            let accepted = format!("0 to {longest} seconds");
            Invalid::new(source, format!("{text:?} is out of range"), accepted)
        })?;
        self.limits.owner_grace_seconds = Some(seconds);
        Ok(self)
    }

    /// What requests are held to.
    pub(crate) fn limits(&self) -> Limits {
        let defaults = Limits::default();
        let or = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        let max_lifetime = or(self.limits.max_lifetime_seconds, defaults.max_lifetime);
        Limits {
            max_lifetime,
            // The default of one must not be above a lower bound of the other.
            unowned_lifetime: or(
                self.limits.unowned_lifetime_seconds,
                defaults.unowned_lifetime.min(max_lifetime),
            ),
            owner_grace: or(self.limits.owner_grace_seconds, defaults.owner_grace),
            daemon_grace: or(self.limits.daemon_grace_seconds, defaults.daemon_grace),
            keep_for: or(self.limits.keep_for_seconds, defaults.keep_for.min(max_lifetime)),
            max_stop_grace: or(self.limits.max_stop_grace_seconds, defaults.max_stop_grace),
            retention: or(self.limits.retention_seconds, defaults.retention),
            ..defaults
        }
    }

    /// What a sandbox may use that asks for nothing.
    pub(crate) fn default_resources(&self) -> EffectiveResources {
        let defaults = EffectiveResources::default();
        let DefaultsTable { cpu, memory, disk, pids } = &self.defaults;
        let bytes = |size: &Option<Quantity>| size.as_ref().and_then(Quantity::units);
        EffectiveResources {
            cpu_milli: cpu.as_ref().map_or(defaults.cpu_milli, Quantity::milli),
            memory_bytes: bytes(memory).unwrap_or(defaults.memory_bytes),
            disk_bytes: bytes(disk).unwrap_or(defaults.disk_bytes),
            pids: pids.unwrap_or(defaults.pids),
        }
    }

    /// What names of images stand for.
    pub(crate) fn aliases(&self) -> Result<ImageAliases, Invalid> {
        ImageAliases::new(self.images.alias.clone())
    }

    /// The largest image that is taken.
    pub(crate) fn image_limits(&self) -> ebbtide_image::Limits {
        self.images.limits()
    }

    /// How many bytes of pulled images are kept; `None` for no bound.
    pub(crate) fn image_max_bytes(&self) -> Option<u64> {
        self.images.max_bytes()
    }

    /// How registries are spoken to; files are as seen from `home`.
    pub(crate) fn registries(&self, home: &Path) -> Result<RegistryConfig, Invalid> {
        self.images.registries(home)
    }

    /// The stores of secrets; directories are as seen from `home`.
    pub(crate) fn secrets(&self, home: &Path) -> SecretStores {
        image_config::secrets(&self.secrets, home)
    }

    /// How many sandboxes are made at once; `None` to go by the machine.
    pub(crate) fn max_concurrent_creates(&self) -> Option<usize> {
        self.runtime.max_concurrent_creates
    }

    /// How many slots are made ahead; `None` for the runtime's default.
    pub(crate) fn pool_slots(&self) -> Option<usize> {
        self.runtime.pool_slots
    }

    /// The addresses on the network to listen on.
    pub(crate) fn listen(&self) -> &[SocketAddr] {
        &self.server.listen
    }

    /// Whether to listen without TLS where other machines can reach it.
    pub(crate) fn insecure(&self) -> bool {
        self.server.insecure
    }

    /// Where the metrics are offered, if anywhere, and whether other machines may read them.
    pub(crate) fn metrics(&self) -> (Option<SocketAddr>, bool) {
        (self.metrics.listen, self.metrics.remote)
    }

    /// The certificate and its key, where they are as seen from the home.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.server.tls_cert.clone()?, self.server.tls_key.clone()?);
        Some(TlsFiles { cert, key })
    }

    /// The size of the disk pool, which takes up only what is written to it; `None` for the runtime's default.
    pub(crate) fn disk_pool_bytes(&self) -> Option<u64> {
        self.runtime.disk_pool.as_ref().and_then(Quantity::units)
    }
}

pub(super) fn within(field: &str, value: Option<u64>, least: u64, most: u64) -> Result<(), Invalid> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Invalid::new(field, format!("{value} is out of range"), format!("{least} to {most}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ebbtide_image::SecretSource;

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ebbtide.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn without_a_file_everything_is_at_its_default() {
        let config = Config::read(Path::new("/nonexistent/ebbtide.toml")).unwrap();
        assert_eq!(config.limits(), Limits::default());
        assert_eq!(config.default_resources(), EffectiveResources::default());
    }

    #[test]
    fn what_is_written_holds() {
        let config = read(
            "[limits]\nmax_lifetime_seconds = 60\n[defaults]\ncpu = '500m'\nmemory = '64Mi'\npids = 9\n\
             [runtime]\ndisk_pool = '2Gi'\npool_slots = 0\nmax_concurrent_creates = 3\n\
             [server]\nlisten = ['127.0.0.1:0', '[::1]:8080']\n[metrics]\nlisten = '127.0.0.1:9464'\n",
        )
        .unwrap();
        assert_eq!(config.limits().max_lifetime, Duration::from_secs(60));
        assert_eq!(config.limits().unowned_lifetime, Duration::from_secs(60));
        let resources = config.default_resources();
        assert_eq!((resources.cpu_milli, resources.memory_bytes, resources.pids), (Some(500), 64 << 20, 9));
        assert_eq!((config.pool_slots(), config.disk_pool_bytes()), (Some(0), Some(2 << 30)));
        assert_eq!(config.max_concurrent_creates(), Some(3));
        assert_eq!(config.listen().len(), 2);
        assert_eq!(config.metrics(), (Some(([127, 0, 0, 1], 9464).into()), false));
    }

    #[test]
    fn the_grace_of_orphans_is_the_command_lines_before_the_files() {
        let config = || {
            read("[limits]\nowner_grace_seconds = 5\ndaemon_grace_seconds = 7\nkeep_for_seconds = 9").unwrap()
        };
        let grace =
            |seconds| config().with_orphan_grace("--orphan-grace", seconds).map(|it| it.limits().owner_grace);
        assert_eq!(grace(None), Ok(Duration::from_secs(5)));
        assert_eq!(grace(Some("0")), Ok(Duration::ZERO));
        assert_eq!(config().limits().daemon_grace, Duration::from_secs(7));
        assert_eq!(config().limits().keep_for, Duration::from_secs(9));
        for refused in ["-1", "inf", "", "86401", "1.5", "9999999999999999999999"] {
            assert_eq!(grace(Some(refused)).unwrap_err().field, "--orphan-grace", "{refused}");
        }
    }

    #[test]
    fn files_of_registries_and_secrets_are_as_seen_from_the_home() {
        let config = read(
            "[images]\nmax_bytes = '20Gi'\ndocker_config = 'docker.json'\n[images.limits]\nmax_layers = 20\n\
             [images.registry.'docker.io']\nmirrors = ['http://mirror:5000', 'other.example']\n\
             [images.registry.'r.example:5000']\nca = 'ca.pem'\nplain_http = true\n\
             [secrets.files]\ndir = '/nonexistent'\n",
        )
        .unwrap();
        assert_eq!((config.image_max_bytes(), config.image_limits().max_layers), (Some(20 << 30), 20));
        let registries = config.registries(Path::new("/home")).unwrap();
        assert_eq!(registries.docker_config.as_deref(), Some(Path::new("/home/docker.json")));
        assert_eq!(registries.registries["docker.io"].mirrors.len(), 2);
        let private = &registries.registries["r.example:5000"];
        let secret =
            SecretSource { store_name: "files".to_owned(), path: "a".to_owned(), field: String::new() };
        let missing = config.secrets(Path::new("/home")).credentials(&secret, "docker.io").unwrap_err();
        assert!(missing.to_string().contains("files"), "{missing}");
        assert_eq!((private.ca.as_deref(), private.plain_http), (Some(Path::new("/home/ca.pem")), true));
    }

    #[test]
    fn what_is_not_known_or_out_of_range_is_refused_by_name() {
        for (text, named) in [
            ("max_lifetime_seconds = 5", "max_lifetime_seconds"),
            ("[limits]\nmax_lifetime = 5", "max_lifetime"),
            ("[limits]\nmax_lifetime_seconds = 0", "limits.max_lifetime_seconds"),
            ("[limits]\nmax_lifetime_seconds = -1", "max_lifetime_seconds"),
            (
                "[limits]\nmax_lifetime_seconds = 60\nunowned_lifetime_seconds = 61",
                "unowned_lifetime_seconds",
            ),
            ("[limits]\ndaemon_grace_seconds = 0", "limits.daemon_grace_seconds"),
            ("[limits]\nkeep_for_seconds = 86401", "limits.keep_for_seconds"),
            ("[defaults]\nmemory = 'lots'", "memory"),
            ("[defaults]\nmemory = '1'", "defaults.memory"),
            ("[defaults]\npids = 0", "defaults.pids"),
            ("[runtime]\ndisk_pool = '1Mi'", "runtime.disk_pool"),
            ("[server]\nlisten = ['127.0.0.1']", "listen"),
            ("[metrics]\nlisten = 9464", "listen"),
            ("[server]\ntls_key = 'k.pem'", "server.tls_cert"),
            ("[images.alias]\na = 'b'\nb = 'a'", "images.alias"),
            ("[images]\naliases = 5", "aliases"),
            ("[images.limits]\nmax_layers = 0", "images.limits.max_layers"),
            ("[images.limits]\nmax_files = 9", "max_files"),
            ("[images.registry.'docker.io/library']", "images.registry"),
            (
                "[images.registry.'docker.io']\nmirrors = ['http://a/b']",
                "images.registry.\"docker.io\".mirrors",
            ),
            ("[images.registry.'docker.io']\ninsecure = true", "insecure"),
            ("[secrets.files]\nregistries = []", "dir"),
            ("not toml", "ebbtide.toml"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(named), "{text:?}: {message}");
        }
    }
}
