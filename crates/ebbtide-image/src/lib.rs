//! Images: names, a content-addressed store, and the ways in and out of it.

pub mod archive;
mod config;
mod digest;
mod error;
mod image;
pub mod layer;
mod limits;
mod media_type;
mod platform;
mod reference;
mod registry;
mod room;
mod secrets;
mod store;

pub use config::ImageConfig;
pub use digest::Digest;
pub use error::ImageError;
pub use image::{Image, Layer, Origin};
pub use layer::Encoding;
pub use limits::Limits;
pub use platform::Platform;
pub use reference::ImageName;
pub use registry::{
    Credentials, LoginOrigin, Mirror, Progress, Pull, PullError, PullProblem, Puller, Redacted,
    RegistryConfig, RegistrySettings, check_host,
};
pub use secrets::{SecretError, SecretSource, SecretStore, SecretStores, canonical_registry};
pub use store::{BlobWriter, Collect, Collected, HeldImage, Ingest, Store};
