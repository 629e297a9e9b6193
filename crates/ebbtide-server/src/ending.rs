//! The word that it is over, for everything that waits for long.

use tokio::sync::watch;

/// Hears that it is over.
#[derive(Debug, Clone)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it is over.
    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it. Safe to drop at the await.
    pub(crate) async fn begun(&mut self) {
        // A sender that is gone can only mean the same.
        let _ = self.0.wait_for(|over| *over).await;
    }
}
