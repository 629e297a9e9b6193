//! Images, as the engine needs them: names that can be checked, and roots that can be made ready.
//!
//! What an image is and where it comes from is the affair of whoever opens a [`crate::Control`].

use std::any::Any;
use std::fmt;

use async_trait::async_trait;
use ebbtide_driver::RootImage;
use ebbtide_model::{HOST_IMAGE, Invalid, MadeOf, PullCredentials, SandboxSpec};
use thiserror::Error;

/// What a sandbox asks for its root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRequest {
    /// The image's name as the caller wrote it.
    pub name: String,
    /// Where the credentials for its registry are.
    pub credentials: Option<PullCredentials>,
}

impl ImageRequest {
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        Self { name: spec.image.clone(), credentials: spec.pull_credentials.clone() }
    }
}

/// Makes images ready for sandboxes.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Judges a request before anything is recorded. It asks nobody outside this machine.
    ///
    /// # Errors
    /// When the request can never be fulfilled as it is. Fields are named as in [`SandboxSpec::validate`].
    async fn check(&self, request: &ImageRequest) -> Result<(), Invalid>;

    /// Makes the image ready, however long that takes, and says how far it is. The future may be dropped at any await.
    ///
    /// # Errors
    /// When the image cannot be had.
    async fn prepare(
        &self,
        request: &ImageRequest,
        progress: Progress<'_>,
    ) -> Result<PreparedImage, PrepareError>;
}

/// Told how far a preparation is, in words for a person.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// An image that a sandbox can be made of.
pub struct PreparedImage {
    /// What to make its root of.
    pub root: RootImage,
    /// What holds where the request says nothing.
    pub defaults: ImageDefaults,
    /// Which one it is.
    pub made_of: MadeOf,
    /// Keeps the image from being removed; dropped once the sandbox holds it itself.
    pub hold: Option<Box<dyn Any + Send + Sync>>,
}

impl PreparedImage {
    /// The host's own programs.
    pub fn host() -> Self {
        Self {
            root: RootImage::Host,
            defaults: ImageDefaults::default(),
            made_of: MadeOf::default(),
            hold: None,
        }
    }
}

impl fmt::Debug for PreparedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedImage").field("root", &self.root).field("defaults", &self.defaults).finish()
    }
}

/// What an image says about the commands that run on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// The program of the main command, with its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after those; the whole command where there is no entrypoint.
    pub cmd: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The directory that commands start in.
    pub working_dir: Option<String>,
    /// Who commands run as: `user[:group]`.
    pub user: Option<String>,
    /// The signal that asks the main command to end.
    pub stop_signal: Option<i32>,
}

/// Why an image could not be made ready.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct PrepareError(Box<dyn std::error::Error + Send + Sync>);

impl PrepareError {
    /// An error whose words say what happened to which image, and what to do.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// No image but the host's own programs.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostOnly;

#[async_trait]
impl Images for HostOnly {
    async fn check(&self, request: &ImageRequest) -> Result<(), Invalid> {
        if request.name == HOST_IMAGE {
            return Ok(());
        }
        let problem = format!("{:?} is not known here", request.name);
        Err(Invalid::new("image", problem, format!("{HOST_IMAGE:?}")))
    }

    async fn prepare(&self, request: &ImageRequest, _: Progress<'_>) -> Result<PreparedImage, PrepareError> {
        self.check(request).await.map(|()| PreparedImage::host()).map_err(PrepareError::new)
    }
}
