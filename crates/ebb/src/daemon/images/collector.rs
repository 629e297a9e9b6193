//! Keeping the images within their bound, where the configuration sets one.

use std::time::Duration;

use ebbtide_image::Collect;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{HomeImages, blocking};

/// How long it may take until it is looked again: what happens in between counts together.
const PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked in any case: the runtime lets go of an image a while after the last sandbox on it.
const EVERY: Duration = Duration::from_secs(120);

impl HomeImages {
    /// Removes the images that have not been used for longest, whenever all take more than they may: after a pull, and
    /// when there are fewer sandboxes than there were, which may have let go of one, and now and then. Goes on for ever, or returns at once
    /// where images may take as much as there is.
    pub(in crate::daemon) async fn keep_within_bound(self, mut sandboxes: watch::Receiver<usize>) {
        let Some(max_bytes) = self.inner.max_bytes else { return };
        loop {
            tokio::select! {
                () = self.inner.grown.notified() => {}
                () = fewer(&mut sandboxes) => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            tokio::time::sleep(PAUSE).await;
            // Where nobody has asked for an image since the daemon started, there is nothing new.
            let Some(opened) = self.inner.opened.get() else { continue };
            let store = opened.store.clone();
            let what = Collect { max_bytes: Some(max_bytes), ..Collect::default() };
            match blocking(move || store.collect(&what)).await {
                Ok(gone) if gone.images.is_empty() => {}
                Ok(gone) => info!(images = gone.images.len(), bytes = gone.bytes, "removed images"),
                Err(error) => warn!(%error, "cannot remove images; trying again later"),
            }
        }
    }
}

/// Waits until the number goes down.
async fn fewer(sandboxes: &mut watch::Receiver<usize>) {
    let mut before = *sandboxes.borrow_and_update();
    loop {
        if sandboxes.changed().await.is_err() {
            // Nobody is left who counts; the daemon is going.
            return std::future::pending().await;
        }
        let now = *sandboxes.borrow_and_update();
        if now < before {
            return;
        }
        before = now;
    }
}
