//! What happens to sandboxes, as it happens.

use ebbtide_proto::ebbtide::v1 as own;
use tonic::Streaming;

use crate::{Client, Error};

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsOptions {
    /// Go on with the events that come; without, reading ends with the last one that is kept.
    pub follow: bool,
    /// Only those after this number; 0 for all that the daemon keeps.
    pub since: u64,
    /// Only those of this sandbox; empty for all.
    pub sandbox_id: String,
    /// Only those of sandboxes with all of these tags.
    pub tags: Vec<String>,
}

/// Events of one's own sandboxes, in order.
#[derive(Debug)]
pub struct Events {
    responses: Streaming<own::Event>,
}

impl Client {
    /// Reads the events of one's own sandboxes.
    ///
    /// A reader that falls behind by more than the daemon keeps gets an event of the kind
    /// [`EventKind::Missed`](own::EventKind::Missed) in the place of what it missed.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn events(&self, options: EventsOptions) -> Result<Events, Error> {
        let EventsOptions { follow, since, sandbox_id, tags } = options;
        let request = own::EventsRequest { follow, since_sequence: since, sandbox_id, tags };
        Ok(Events { responses: self.own().events(request).await?.into_inner() })
    }
}

impl Events {
    /// The next event; `None` after the last one that is kept, if following was not asked for. Waits without bound.
    /// Safe to drop at the await.
    ///
    /// # Errors
    /// When the daemon ends, or the connection breaks.
    pub async fn next(&mut self) -> Result<Option<own::Event>, Error> {
        Ok(self.responses.message().await?)
    }
}
