//! The tables of `ebbtide.toml` about images: what they are called, how large they may be, where they come from, and
//! with which secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ebbtide_image::{Limits, RegistryConfig, RegistrySettings, SecretStore, SecretStores, check_host};
use ebbtide_model::{Invalid, Quantity};
use serde::Deserialize;

use super::config::within;

/// `[images]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImagesTable {
    /// What names stand for, besides what `ebb image alias` says.
    pub(super) alias: BTreeMap<String, String>,
    max_bytes: Option<Quantity>,
    docker_config: Option<PathBuf>,
    limits: LimitsTable,
    registry: BTreeMap<String, RegistryTable>,
}

/// `[images.limits]`: the largest image that is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    max_layers: Option<u64>,
    max_manifest_bytes: Option<Quantity>,
    max_blob_bytes: Option<Quantity>,
    max_unpacked_bytes: Option<Quantity>,
    max_entries: Option<u64>,
    min_free_bytes: Option<Quantity>,
}

/// `[images.registry."HOST"]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistryTable {
    mirrors: Vec<String>,
    plain_http: bool,
    ca: Option<PathBuf>,
}

/// `[secrets.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    dir: PathBuf,
    #[serde(default)]
    registries: Vec<String>,
}

impl ImagesTable {
    /// Whether it can be used.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let bytes = |field: &str, size: &Option<Quantity>, least: u64| {
            within(field, size.as_ref().map(|size| size.units().unwrap_or(u64::MAX)), least, 1 << 50)
        };
        bytes("images.max_bytes", &self.max_bytes, 0)?;
        let limits = &self.limits;
        // Overlayfs takes 500 layers, of which the runtime needs some.
        within("images.limits.max_layers", limits.max_layers, 1, 450)?;
        bytes("images.limits.max_manifest_bytes", &limits.max_manifest_bytes, 64 << 10)?;
        bytes("images.limits.max_blob_bytes", &limits.max_blob_bytes, 1)?;
        bytes("images.limits.max_unpacked_bytes", &limits.max_unpacked_bytes, 1)?;
        within("images.limits.max_entries", limits.max_entries, 1, 1 << 40)?;
        bytes("images.limits.min_free_bytes", &limits.min_free_bytes, 0)?;
        for (host, registry) in &self.registry {
            let field = format!("images.registry.{host:?}");
            check_host(&field, host)?;
            registry.settings(Path::new("/")).map_err(|invalid| invalid.within(&field))?;
        }
        Ok(())
    }

    /// The largest image that is taken.
    pub(super) fn limits(&self) -> Limits {
        let LimitsTable {
            max_layers,
            max_manifest_bytes,
            max_blob_bytes,
            max_unpacked_bytes,
            max_entries,
            min_free_bytes,
        } = &self.limits;
        let mut limits = Limits::default();
        let bytes =
            |asked: &Option<Quantity>, default| asked.as_ref().and_then(Quantity::units).unwrap_or(default);
        if let Some(layers) = max_layers.and_then(|layers| usize::try_from(layers).ok()) {
            limits.max_layers = layers;
        }
        limits.max_manifest_bytes = bytes(max_manifest_bytes, limits.max_manifest_bytes);
        limits.max_blob_bytes = bytes(max_blob_bytes, limits.max_blob_bytes);
        limits.max_unpacked_bytes = bytes(max_unpacked_bytes, limits.max_unpacked_bytes);
        limits.max_entries = max_entries.unwrap_or(limits.max_entries);
        limits.min_free_bytes = bytes(min_free_bytes, limits.min_free_bytes);
        limits
    }

    /// How many bytes of pulled images are kept; `None` for no bound.
    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes.as_ref().and_then(Quantity::units)
    }

    /// How registries are spoken to; files are as seen from `home`.
    pub(super) fn registries(&self, home: &Path) -> Result<RegistryConfig, Invalid> {
        let mut config = RegistryConfig::default();
        if let Some(file) = &self.docker_config {
            config.docker_config = Some(home.join(file));
        }
        for (host, registry) in &self.registry {
            config.registries.insert(host.clone(), registry.settings(home)?);
        }
        Ok(config)
    }
}

impl RegistryTable {
    fn settings(&self, home: &Path) -> Result<RegistrySettings, Invalid> {
        let mirrors = self.mirrors.iter().map(|mirror| mirror.parse()).collect::<Result<_, _>>()?;
        let ca = self.ca.as_ref().map(|ca| home.join(ca));
        Ok(RegistrySettings { mirrors, plain_http: self.plain_http, ca })
    }
}

/// The stores of secrets; directories are as seen from `home`.
pub(super) fn secrets(tables: &BTreeMap<String, SecretTable>, home: &Path) -> SecretStores {
    let stores = tables.iter().map(|(name, table)| {
        let store = SecretStore { dir: home.join(&table.dir), registries: table.registries.clone() };
        (name.clone(), store)
    });
    SecretStores::new(stores.collect())
}
