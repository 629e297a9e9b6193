//! The gate for requests from the network: the API key that each of them must bring.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::header::AUTHORIZATION;
use tracing::warn;

use crate::caller::{Caller, LeasePlaces};
use crate::errors;
use crate::keys::{Keys, Presented};

/// At most one line of the log for all refusals of this time: strangers must not fill the disk.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Lets requests in that bring a key.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    keys: Arc<Keys>,
    refusals: Arc<Mutex<Refusals>>,
}

#[derive(Debug, Default)]
struct Refusals {
    unlogged: u64,
    logged: Option<Instant>,
}

/// A connection from the network.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    gate: Gate,
    address: SocketAddr,
    known: watch::Sender<bool>,
    places: LeasePlaces,
}

/// That a request was let in, which holds for as long as its key is known.
#[derive(Debug)]
pub(crate) struct Admission {
    keys: Arc<Keys>,
    presented: Presented,
    changes: watch::Receiver<()>,
}

impl Admission {
    /// Waits until the key is not known any more. Safe to drop at the await.
    pub(crate) async fn revoked(&mut self) {
        loop {
            if self.changes.changed().await.is_err() {
                pending::<()>().await;
            }
            if self.keys.owner(&self.presented).is_none() {
                return;
            }
        }
    }
}

impl Gate {
    pub(crate) fn new(keys: Arc<Keys>) -> Self {
        Self { keys, refusals: Arc::default() }
    }

    /// Has those who were let in hear of keys that are revoked; never returns.
    pub(crate) async fn watch_keys(&self) {
        self.keys.watch().await;
    }

    /// One who has connected.
    pub(crate) fn stranger(&self, address: SocketAddr) -> Stranger {
        Stranger {
            gate: self.clone(),
            address,
            known: watch::Sender::new(false),
            places: LeasePlaces::default(),
        }
    }

    /// Counts something that was refused, and says so now and then.
    pub(crate) fn refused(&self, address: SocketAddr, what: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.unlogged += 1;
        if refusals.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            return;
        }
        warn!(count = refusals.unlogged, last = %address, what, "refused from the network");
        *refusals = Refusals { unlogged: 0, logged: Some(Instant::now()) };
    }
}

impl Stranger {
    /// The caller of a request with these headers, and for how long.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<(Caller, Admission), Status> {
        let refuse = |message: &str| {
            self.gate.refused(self.address, message);
            Err(errors::unauthenticated(message))
        };
        let Some(header) = headers.get(AUTHORIZATION) else {
            return refuse("no API key; send the header `authorization: Bearer KEY`");
        };
        let key = header.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((_, key)) = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return refuse("the header `authorization` is not of the form `Bearer KEY`");
        };
        let keys = &self.gate.keys;
        // Before the look, so that no change after it goes unheard.
        let changes = keys.changes();
        let presented = Presented::new(key);
        let Some(principal) = keys.owner(&presented) else {
            return refuse("the API key is not known or has been revoked");
        };
        self.known.send_if_modified(|known| !std::mem::replace(known, true));
        Ok((
            Caller::remote(principal, self.places.clone()),
            Admission { keys: Arc::clone(keys), presented, changes },
        ))
    }

    /// Waits until a request of this connection has brought a key.
    pub(crate) async fn known(&self) {
        // The sender is `self`, so it cannot be gone.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }
}
