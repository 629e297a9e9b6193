//! The listening socket, and how it is closed without losing a client.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use crate::ServerError;

/// A listening socket, whose path goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens on `path`, which only its owner may connect to.
    pub(crate) fn bind(path: &Path) -> Result<Self, ServerError> {
        let socket = bind(path).map_err(|error| ServerError::listen(path, error))?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Listens after a [`Listener::close`].
    pub(crate) fn listen_again(&mut self) -> Result<(), ServerError> {
        self.socket = bind(&self.path).map_err(|error| ServerError::listen(&self.path, error))?;
        Ok(())
    }

    /// The next connection. Safe to drop at the await.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    /// Refuses every connection from now on, and returns those that had been made before.
    ///
    /// The kernel decides between the two under the socket's lock, so a client is either refused, and knows
    /// that there is no daemon, or is among the returned.
    pub(crate) fn close(&mut self) -> Vec<UnixStream> {
        if let Err(error) = shutdown(&self.socket, Shutdown::Read) {
            warn!(%error, "cannot stop listening");
        }
        let mut late = Vec::new();
        // Not through tokio, which asks the kernel only once it has been told that somebody waits.
        while let Ok(stream) = accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            match UnixStream::from_std(stream.into()) {
                Ok(stream) => late.push(stream),
                Err(error) => warn!(%error, "a connection is lost"),
            }
        }
        late
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The path before the socket: nobody finds a path behind which nobody listens. It may be gone already,
        // with its home.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_connects_while_it_closes_is_either_kept_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let connect = || std::os::unix::net::UnixStream::connect(&path);
        let mut listener = Listener::bind(&path).unwrap();
        let _before = [connect().unwrap(), connect().unwrap()];
        assert_eq!(listener.close().len(), 2);
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(listener.close().is_empty());
        listener.listen_again().unwrap();
        let _after = connect().unwrap();
        listener.accept().await.unwrap();
        drop(listener);
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
