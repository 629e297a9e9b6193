//! What the names of images stand for, as whoever opens a [`crate::Control`] knows it.

use std::fmt;
use std::sync::Arc;

use ebbtide_model::Invalid;

type Resolve = dyn Fn(&str) -> Result<String, Invalid> + Send + Sync;

/// Says what the name of an image stands for. Asked once for each create, right before the driver is.
#[derive(Clone)]
pub struct ImageNames(Arc<Resolve>);

impl ImageNames {
    /// Names that stand for what `resolve` says.
    pub fn new(resolve: impl Fn(&str) -> Result<String, Invalid> + Send + Sync + 'static) -> Self {
        Self(Arc::new(resolve))
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<String, Invalid> {
        (self.0)(name)
    }
}

impl Default for ImageNames {
    /// Each name stands for itself.
    fn default() -> Self {
        Self::new(|name| Ok(name.to_owned()))
    }
}

impl fmt::Debug for ImageNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImageNames")
    }
}
