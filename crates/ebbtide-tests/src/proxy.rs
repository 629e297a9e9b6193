//! Somebody in between who ends the connections of both sides: a network that can be cut, and a proxy that keeps the
//! one side open when the other has gone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Passes connections on until it is told otherwise. Lasts as long as the test.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    keeps: bool,
    loses_answers: bool,
    open: Vec<TcpStream>,
}

/// How a connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// As by somebody who closes it (FIN).
    Close,
    /// As by somebody who knows nothing of it (RST).
    Reset,
}

impl Proxy {
    /// One in front of this address.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn to(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let (target, state) = (target.into(), Arc::<Mutex<State>>::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for incoming in listener.incoming().map_while(Result::ok) {
                let mut state = lock(&shared);
                let Ok(outgoing) = TcpStream::connect(&target) else { continue };
                if state.cut {
                    continue;
                }
                for (from, to, answers) in [(&incoming, &outgoing, false), (&outgoing, &incoming, true)] {
                    if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || pass_on(from, to, answers, &shared));
                    }
                }
                state.open.extend([incoming, outgoing]);
            }
        });
        Self { address, state }
    }

    /// Breaks every connection and lets none through from now on.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn cut(&self, how: Break) {
        let mut state = lock(&self.state);
        (state.cut, state.loses_answers) = (true, false);
        for stream in state.open.drain(..) {
            let _ = match how {
                Break::Close => stream.shutdown(Shutdown::Both),
                Break::Reset => rustix::net::connect_unspec(&stream).map_err(Into::into),
            };
        }
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        lock(&self.state).cut = false;
    }

    /// What is answered from now on is lost, until the connections are cut.
    pub fn lose_answers(&self) {
        lock(&self.state).loses_answers = true;
    }

    /// From now on an end of one side of a connection is not told to the other.
    pub fn keep_open(&self) {
        lock(&self.state).keeps = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, answers: bool, state: &Mutex<State>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let is_lost = answers && lock(state).loses_answers;
        if !is_lost && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if !lock(state).keeps {
        let _ = to.shutdown(Shutdown::Both);
    }
}
