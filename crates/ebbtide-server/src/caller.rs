//! Who asks: the credentials that the kernel recorded when the connection was made.

use std::io;

use ebbtide_model::Principal;
use tokio::net::UnixStream;
use tonic::{Request, Status};

use crate::errors;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) uid: u32,
}

impl Caller {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let uid = stream.peer_cred()?.uid();
        Ok(Self { principal: Principal::Uid(uid), uid })
    }

    /// The caller of a request.
    pub(crate) fn from_request<T>(request: &Request<T>) -> Result<Self, Status> {
        request.extensions().get().cloned().ok_or_else(|| errors::internal("a request came from nowhere"))
    }
}
