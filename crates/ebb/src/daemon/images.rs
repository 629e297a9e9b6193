//! Images for the engine: what their names stand for.

use async_trait::async_trait;
use ebbtide_control::{ImageRequest, Images, PrepareError, PreparedImage, Progress};
use ebbtide_model::{HOST_IMAGE, ImageAliases, Invalid};

use crate::images::{AliasError, AliasFile};

/// The images of a home.
pub(super) struct HomeImages {
    /// What the configuration says.
    configured: ImageAliases,
    /// What `ebb image alias` says, which goes before it.
    added: AliasFile,
}

impl HomeImages {
    pub(super) fn new(configured: ImageAliases, added: AliasFile) -> Self {
        Self { configured, added }
    }

    /// The image that `name` stands for at this moment.
    fn target(&self, name: &str) -> Result<String, Invalid> {
        let refused = |invalid: Invalid| Invalid { field: "image".to_owned(), ..invalid };
        let added = self.added.read().map_err(|error| match error {
            AliasError::Invalid(invalid) => refused(invalid),
            error => Invalid::new("image", error.to_string(), "a table [alias] of names"),
        })?;
        let aliases = self.configured.overlaid_with(&added).map_err(refused)?;
        aliases.resolve(name).map(str::to_owned).map_err(refused)
    }
}

#[async_trait]
impl Images for HomeImages {
    fn check(&self, request: &ImageRequest) -> Result<(), Invalid> {
        if request.name != HOST_IMAGE {
            self.target(&request.name)?;
        }
        Ok(())
    }

    async fn prepare(&self, request: &ImageRequest, _: Progress<'_>) -> Result<PreparedImage, PrepareError> {
        if request.name == HOST_IMAGE || self.target(&request.name).map_err(PrepareError::new)? == HOST_IMAGE
        {
            return Ok(PreparedImage::host());
        }
        let image = &request.name;
        let help =
            format!("use {HOST_IMAGE:?}, or let the name stand for it: ebb image alias {image} {HOST_IMAGE}");
        Err(PrepareError::new(format!("image {image:?} is not known here; {help}")))
    }
}
