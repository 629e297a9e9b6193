//! What the server counts, and the port on which all that the daemon counts can be read.

mod port;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::answer::Origin;

pub use port::MetricsPort;

type Label = [(&'static str, &'static str); 1];

/// The connections of clients, by where they come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionCounts {
    accepted: Family<Label, Counter>,
    open: Family<Label, Gauge>,
}

impl ConnectionCounts {
    /// Counts a connection, as open until the answer is dropped.
    pub(crate) fn opened(&self, origin: &Origin) -> Open {
        let label = match origin {
            Origin::Local(_) => [("from", "socket")],
            Origin::Network(_) => [("from", "network")],
        };
        self.accepted.get_or_create(&label).inc();
        let open = self.open.get_or_create_owned(&label);
        open.inc();
        Open(open)
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connections_accepted", "Connections of clients", self.accepted.clone());
        registry.register("connections", "Connections of clients that are open", self.open.clone());
    }
}

/// Held by an open connection.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
