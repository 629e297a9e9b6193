//! The lease of this process: by it a daemon knows whose a sandbox is, and that its owner has gone.
//!
//! A process has one at each daemon, opened when it first makes or adopts a sandbox there that is to be its own. A
//! daemon on the same machine knows the process itself by it, and sees its end whatever becomes of the connection: a
//! forked child may hold that open for as long as it likes. A daemon elsewhere sees only the connection. When that is
//! lost, this process comes back with the lease's token, for as long as it lives and the daemon knows the lease.
//!
//! A daemon of another make has no leases; its sandboxes are bounded by their lifetimes alone. A forked child begins
//! without any, and takes its own.

mod stream;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ebbtide_model::LEASE_HEADER;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tracing::debug;

use crate::{Client, Connection, Error, ErrorKind, ProcessLocal, Target, engine};
use stream::Hold;
pub(crate) use stream::{HEARTBEAT_VARIABLE, heartbeat};

/// What proves a lease.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LeaseToken(MetadataValue<Ascii>);

impl LeaseToken {
    fn new(token: &str) -> Result<Self, Error> {
        let mut value: MetadataValue<Ascii> =
            token.parse().map_err(|_| Error::Protocol("a lease's token that cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The request for this message, made in the name of a lease, if there is one.
    pub(crate) fn put_on<T>(lease: Option<&Self>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(Self(token)) = lease {
            request.metadata_mut().insert(LEASE_HEADER, token.clone());
        }
        request
    }

    fn as_text(&self) -> String {
        self.0.to_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(...)")
    }
}

/// A process's lease at one daemon.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unopened,
    Held(LeaseToken),
    /// The daemon has no such thing.
    Unsupported,
}

/// The leases of this process, each at its daemon.
type Leases = Vec<(Target, Arc<Lease>)>;

static LEASES: ProcessLocal<Mutex<Leases>> = ProcessLocal::new();

/// This process's lease at a daemon, opened or not.
pub(crate) fn at(target: &Target) -> Arc<Lease> {
    let mut leases = LEASES.get().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, lease)) = leases.iter().find(|(known, _)| known == target) {
        return Arc::clone(lease);
    }
    let lease = Arc::default();
    leases.push((target.clone(), Arc::clone(&lease)));
    lease
}

impl Lease {
    /// Its token, if it is open.
    pub(crate) async fn held(&self) -> Option<LeaseToken> {
        match &*self.state.lock().await {
            State::Held(token) => Some(token.clone()),
            State::Unopened | State::Unsupported => None,
        }
    }

    /// Its token; opens it if need be. `None` where the daemon has no leases.
    pub(crate) async fn open(self: Arc<Self>, connection: &Connection) -> Result<Option<LeaseToken>, Error> {
        let connection = connection.clone();
        // What holds it goes on there.
        engine::run_on(async move {
            let mut state = self.state.lock().await;
            match &*state {
                State::Held(token) => return Ok(Some(token.clone())),
                State::Unsupported => return Ok(None),
                State::Unopened => {}
            }
            let heartbeat = connection.heartbeat()?;
            let open = async |client: Client| Hold::open(&client, heartbeat).await;
            let hold = match connection.call(open).await {
                Ok(hold) => hold,
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    *state = State::Unsupported;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let token = hold.token.clone();
            *state = State::Held(token.clone());
            engine::spawn(keep(connection, Arc::clone(&self), hold))?;
            Ok(Some(token))
        })
        .await
    }

    /// Lets the next call open another, unless that was done already.
    pub(crate) async fn lose(&self, lost: &LeaseToken) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Held(token) if token == lost) {
            *state = State::Unopened;
        }
    }
}

/// Holds it for as long as this process lives and the daemon knows it.
async fn keep(connection: Connection, lease: Arc<Lease>, mut hold: Hold) {
    loop {
        hold.lost().await;
        if hold.local {
            // The daemon, or the next one, sees this process itself.
            return;
        }
        match hold.resumed(&connection).await {
            Ok(resumed) => hold = resumed,
            Err(error) => {
                debug!(%error, "the lease at the daemon is lost; what it had is orphaned");
                lease.lose(&hold.token).await;
                return;
            }
        }
    }
}
