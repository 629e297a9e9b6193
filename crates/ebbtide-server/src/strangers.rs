//! Connections from the network that have not brought a key yet: few at a time, and none for long.
//!
//! Anybody can open them, so their number is bounded, and the oldest one makes room for the next. Refusing the next
//! instead would let whoever opens many and says nothing keep everybody else out; a client with a key needs its
//! place for a moment only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most at once.
const MAX_STRANGERS: usize = 256;
/// How long each may stay.
const INTRODUCTION: Duration = Duration::from_secs(20);

/// Those who are there, the oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// What each is told by when it has to go: by the end of this.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of one of them, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    line: Strangers,
    number: u64,
    called: oneshot::Receiver<()>,
}

impl Strangers {
    /// A place for one more; the oldest loses its own if there is none.
    pub(crate) fn admit(&self) -> Place {
        let (caller, called) = oneshot::channel();
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while line.waiting.len() >= MAX_STRANGERS {
            line.waiting.pop_first();
        }
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, caller);
        Place { line: self.clone(), number, called }
    }
}

impl Place {
    /// Waits until the place is lost: to somebody else, or because it was held for too long.
    pub(crate) async fn lost(&mut self) {
        // Nothing is ever sent: either way it is the end of the wait that counts.
        let _ = timeout(INTRODUCTION, &mut self.called).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_and_only_when_there_is_none() {
        let strangers = Strangers::default();
        let mut places: Vec<Place> = (0..MAX_STRANGERS).map(|_| strangers.admit()).collect();
        drop(places.remove(1));
        let _fits = strangers.admit();
        assert!(places[0].lost().now_or_never().is_none(), "there was room");
        let _last = strangers.admit();
        assert!(places[0].lost().now_or_never().is_some(), "the oldest stays");
        assert!(places[1].lost().now_or_never().is_none(), "one too many went");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_stays_for_long() {
        let mut place = Strangers::default().admit();
        place.lost().await;
    }
}
