//! Images whose records were read lately: each start of a sandbox asks for one, and that of many layers takes long to
//! parse.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Digest, Image, ImageError};

/// How many are kept.
const MOST: usize = 16;

/// A record never changes, so what was read once holds as long as there is one. The latest is the first.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<Arc<Image>>>);

impl Known {
    /// The digest's image as far as its record tells, by `read` if it has not been read lately.
    pub(super) fn get(
        &self,
        digest: &Digest,
        read: impl FnOnce() -> Result<Image, ImageError>,
    ) -> Result<Arc<Image>, ImageError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let image = match known.iter().position(|image| image.digest == *digest) {
            Some(at) => known.remove(at),
            None => Arc::new(read()?),
        };
        known.insert(0, Arc::clone(&image));
        known.truncate(MOST);
        Ok(image)
    }
}
