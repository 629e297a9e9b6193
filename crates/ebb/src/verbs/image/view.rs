//! What is known of an image, in the stable shape that `--json` prints (documented in `docs/cli.md`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use ebbtide_image::{Image, ImageConfig, Layer, Origin};
use jiff::Timestamp;
use serde::Serialize;

use crate::view::short;

/// How many letters of a digest people are shown.
const SHORT_DIGEST: usize = 12;

/// An image of the home.
#[derive(Debug, Serialize)]
pub(super) struct ImageView {
    /// What it is: the digest of its manifest.
    pub(super) digest: String,
    /// What it is called; maybe nothing any more.
    pub(super) names: Vec<String>,
    /// What it was made for.
    pub(super) platform: String,
    /// `pulled` or `loaded`.
    pub(super) origin: &'static str,
    /// Whether it is only for those who have the right to it from its registry.
    pub(super) private: bool,
    /// When it was made, as its maker says.
    pub(super) created_at: Option<String>,
    /// When it was last used here.
    pub(super) last_used_at: Option<String>,
    /// What its blobs take up.
    pub(super) bytes: u64,
    pub(super) layers: Vec<LayerView>,
    pub(super) config: ConfigView,
    #[serde(skip)]
    last_used: Option<Timestamp>,
}

/// A layer, the bottom first.
#[derive(Debug, Serialize)]
pub(super) struct LayerView {
    pub(super) digest: String,
    pub(super) diff_id: String,
    pub(super) bytes: u64,
}

/// How it wants to be run.
#[derive(Debug, Serialize)]
pub(super) struct ConfigView {
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    /// `NAME=VALUE`, each.
    pub(super) env: Vec<String>,
    pub(super) working_dir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) stop_signal: Option<String>,
    pub(super) exposed_ports: Vec<String>,
    pub(super) volumes: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl From<Image> for ImageView {
    fn from(image: Image) -> Self {
        let last_used = timestamp(image.last_used);
        Self {
            digest: image.digest.to_string(),
            names: image.names.iter().map(|name| name.familiar()).collect(),
            platform: image.platform,
            origin: match image.origin {
                Origin::Pulled => "pulled",
                Origin::Loaded => "loaded",
            },
            private: image.private_to.is_some(),
            created_at: image.created,
            last_used_at: last_used.map(|at| at.to_string()),
            bytes: image.bytes,
            layers: image.layers.into_iter().map(LayerView::from).collect(),
            config: image.config.into(),
            last_used,
        }
    }
}

impl From<Layer> for LayerView {
    fn from(layer: Layer) -> Self {
        Self { digest: layer.blob.to_string(), diff_id: layer.diff_id.to_string(), bytes: layer.bytes }
    }
}

impl From<ImageConfig> for ConfigView {
    fn from(config: ImageConfig) -> Self {
        Self {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            working_dir: config.working_dir,
            user: config.user,
            stop_signal: config.stop_signal,
            exposed_ports: config.exposed_ports,
            volumes: config.volumes,
            labels: config.labels,
        }
    }
}

impl ImageView {
    /// The beginning of the digest, for a person.
    pub(super) fn short_digest(&self) -> String {
        self.digest.trim_start_matches("sha256:").chars().take(SHORT_DIGEST).collect()
    }

    /// How long ago it was made, for a person.
    pub(super) fn age(&self) -> String {
        ago(self.created_at.as_deref().and_then(|created| created.parse().ok()))
    }

    /// How long ago it was used, for a person.
    pub(super) fn unused(&self) -> String {
        ago(self.last_used)
    }
}

/// Bytes for a person.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn ago(at: Option<Timestamp>) -> String {
    at.map(|at| format!("{} ago", short(Timestamp::now().duration_since(at)))).unwrap_or_default()
}

fn timestamp(at: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(at).ok().and_then(|at| at.round(jiff::Unit::Second).ok())
}
