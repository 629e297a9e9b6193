//! Pieces on their way from a task to whoever reads them, in another thread or in an event loop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebbtide::Error;
use ebbtide::proto::bytes::Bytes;
use tokio::sync::Notify;

use crate::operation::Cell;
use crate::outcome::Outcome;

/// Pieces on their way.
pub(crate) struct Tape {
    state: Mutex<State>,
    /// The reader has taken something, or wants nothing more.
    taken: Notify,
    limit: usize,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Somebody has read or waits to: what is not read is worth waiting for.
    read: bool,
    /// Nobody wants what comes.
    closed: bool,
    /// Something was thrown away behind what is here.
    lost: bool,
    /// How it ends, behind what is here.
    end: Option<Result<(), Error>>,
    /// Who waits for something to read.
    waiting: Vec<Arc<Cell>>,
}

/// What there is to read.
pub(crate) enum Next {
    Piece(Bytes),
    NothingYet,
    End,
    Failed(Error),
}

impl Tape {
    /// One on which at most about so many bytes are.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), taken: Notify::new(), limit })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a piece on it. What does not fit because nobody reads is lost, which a reader is told.
    pub(crate) fn push(&self, piece: Bytes) {
        let mut state = self.state();
        if piece.is_empty() || state.closed || state.lost {
            return;
        }
        if state.bytes + piece.len() > self.limit && !state.read {
            state.lost = true;
            return;
        }
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        wake(state);
    }

    /// Throws away what comes from now on.
    pub(crate) fn lose(&self) {
        self.state().lost = true;
    }

    /// Says how it ends; the first word counts.
    pub(crate) fn finish(&self, end: Result<(), Error>) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        wake(state);
    }

    fn is_full(&self, state: &State) -> bool {
        state.read && !state.closed && !state.lost && state.bytes >= self.limit
    }

    /// Waits until a reader is not behind any more.
    pub(crate) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if !self.is_full(&self.state()) {
                return;
            }
            taken.await;
        }
    }

    /// Waits until nobody wants what comes.
    pub(crate) async fn closed(&self) {
        loop {
            let taken = self.taken.notified();
            if self.state().closed {
                return;
            }
            taken.await;
        }
    }

    /// What there is, without waiting.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.state();
        state.read = true;
        if let Some(piece) = state.pieces.pop_front() {
            state.bytes -= piece.len();
            drop(state);
            self.taken.notify_waiters();
            return Next::Piece(piece);
        }
        if state.closed {
            return Next::End;
        }
        if state.lost {
            // Told once.
            state.closed = true;
            return Next::Failed(Error::OutputTooLarge { limit: self.limit });
        }
        match state.end.clone() {
            None => Next::NothingYet,
            Some(Ok(())) => Next::End,
            Some(Err(error)) => {
                state.closed = true;
                Next::Failed(error)
            }
        }
    }

    /// A cell that is filled when there is something to read, or the end.
    pub(crate) fn readable(&self) -> Arc<Cell> {
        let cell = Arc::<Cell>::default();
        let mut state = self.state();
        state.read = true;
        if state.pieces.is_empty() && !state.closed && !state.lost && state.end.is_none() {
            state.waiting.push(Arc::clone(&cell));
        } else {
            cell.complete(Ok(Outcome::Nothing));
        }
        cell
    }

    /// Nothing more is wanted. Whoever waits to read gets the end.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.pieces.clear();
        state.bytes = 0;
        wake(state);
        self.taken.notify_waiters();
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    for cell in waiting {
        cell.complete(Ok(Outcome::Nothing));
    }
}
