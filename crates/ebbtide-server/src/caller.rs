//! Who asks: on the socket, the user that the kernel recorded when the connection was made; over the network, the
//! organisation of the API key that each request brings.

use std::io;
use std::sync::Arc;

use ebbtide_control::ControlError;
use ebbtide_model::{Invalid, OWNER_PID_ANNOTATION, OwnerProcess, Principal};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Status};

use crate::{errors, owner};

/// The most leases that are held over one connection at a time. A process needs one.
const LEASES: usize = 16;

/// The places for leases of one connection.
#[derive(Debug, Clone)]
pub(crate) struct LeasePlaces(Arc<Semaphore>);

impl Default for LeasePlaces {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LEASES)))
    }
}

/// Who makes a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// The user, of one who is on this machine.
    uid: Option<u32>,
    /// The process that made the connection, where the kernel says so: not of one in another pid namespace. It may have
    /// handed the connection on to a child, which does not make that the caller.
    pub(crate) process: Option<OwnerProcess>,
    places: LeasePlaces,
}

impl Caller {
    /// The one at the other end of a socket.
    pub(crate) fn local(stream: &UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        let (uid, pid) = (peer.uid(), peer.pid().filter(|pid| *pid > 0));
        Ok(Self {
            principal: Principal::Uid(uid),
            uid: Some(uid),
            process: pid.and_then(|pid| owner::identify(pid, uid)),
            places: LeasePlaces::default(),
        })
    }

    /// The owner of an API key.
    pub(crate) fn remote(principal: Principal, places: LeasePlaces) -> Self {
        Self { principal, uid: None, process: None, places }
    }

    /// A place for one more lease over its connection.
    pub(crate) fn lease_place(&self) -> Result<OwnedSemaphorePermit, Invalid> {
        Arc::clone(&self.places.0).try_acquire_owned().map_err(|_| {
            let problem = format!("is one more than the {LEASES} that this connection holds");
            Invalid::new("lease", problem, format!("at most {LEASES} on a connection"))
        })
    }

    /// The caller of a request.
    pub(crate) fn from_request<T>(request: &Request<T>) -> Result<Self, Status> {
        request.extensions().get().cloned().ok_or_else(|| errors::internal("a request came from nowhere"))
    }

    /// Whether the caller is on this machine, and so may see and do what concerns it as a whole.
    pub(crate) fn is_local(&self) -> bool {
        self.uid.is_some()
    }

    /// Refuses callers from the network `what`, which concerns more than what is theirs.
    pub(crate) fn require_local(&self, what: &str) -> Result<(), Status> {
        if self.is_local() {
            return Ok(());
        }
        Err(errors::permission_denied(&format!("{what} only on the daemon's own machine, by its socket")))
    }

    /// Refuses everybody but root on this machine `what`, which concerns what belongs to others.
    pub(crate) fn require_root(&self, what: &str) -> Result<(), Status> {
        if self.uid == Some(0) {
            return Ok(());
        }
        Err(errors::permission_denied(&format!("{what} only by root on the daemon's own machine")))
    }

    /// Checks that a process may be named as the owner of a sandbox.
    ///
    /// # Errors
    /// The annotation that is wrong; or that it cannot be found out.
    pub(crate) fn check_owner(&self, process: OwnerProcess) -> Result<(), ControlError> {
        match self.uid {
            Some(uid) => owner::check(process, uid),
            None => Err(Invalid::new(
                format!("annotations[{OWNER_PID_ANNOTATION}]"),
                "names a process of the daemon's machine, which nobody over the network owns",
                "no owner; a lifetime bounds the sandbox",
            )
            .into()),
        }
    }
}
