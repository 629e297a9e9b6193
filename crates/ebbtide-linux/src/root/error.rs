//! Why a root could not be built.

use std::path::PathBuf;

use thiserror::Error;

use crate::sys_error::SysError;

#[derive(Debug, Error)]
pub(crate) enum RootError {
    /// A part of the image is not there any more.
    #[error("{} is gone", .0.display())]
    Gone(PathBuf),
    /// More layers than the kernel takes.
    #[error("an image of {asked} layers; this kernel takes {most}")]
    TooManyLayers { asked: usize, most: usize },
    /// A step failed in the kernel.
    #[error(transparent)]
    System(#[from] SysError),
}
