//! What a command says, shared by everybody who waits for some of it.
//!
//! There is no task that reads: whoever waits polls the connection itself, and puts aside what is for others. The
//! connection wakes all who wait; the first to come polls again, and whoever stops waiting wakes the others, so
//! that somebody always does. A waiter that is dropped therefore holds nobody up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ebbtide_proto::bytes::Bytes;
use tokio::time::{Sleep, sleep};

use crate::{Error, ErrorKind, ExecEvent, ExecEvents};

/// How long the other side may take to end a command whose time is over before its caller is told anyway.
const SLACK: Duration = Duration::from_secs(5);

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

/// What a command says.
#[derive(Debug)]
pub(crate) struct CommandStream {
    command: Vec<String>,
    limit: usize,
    timeout: Option<Duration>,
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct State {
    /// `None` once nothing more can come; dropping it ends the command.
    events: Option<ExecEvents>,
    stdout: Queue,
    stderr: Queue,
    end: Option<Result<i32, Error>>,
    over: Option<Pin<Box<Sleep>>>,
}

/// What was put aside of one output.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Whether something was thrown away behind what is here.
    lost: bool,
    /// Whether the reason for which the output is cut off was told.
    told: bool,
}

/// Who waits. Woken by the connection, while the state may be locked: so the wakers have a lock of their own.
#[derive(Debug, Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, waker: &Waker) {
        let mut wakers = self.wakers();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

impl CommandStream {
    /// Must be called within a runtime, whose clock bounds the command.
    pub(crate) fn new(
        command: Vec<String>,
        events: ExecEvents,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Arc<Self> {
        let over = timeout.map(|timeout| Box::pin(sleep(timeout.saturating_add(SLACK))));
        let state = State {
            events: Some(events),
            stdout: Queue::default(),
            stderr: Queue::default(),
            end: None,
            over,
        };
        Arc::new(Self { command, limit, timeout, state: Mutex::new(state), waiting: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self) -> &[String] {
        &self.command
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.state().end.as_ref()?.as_ref().ok().copied()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    /// Ends the command, unless it has ended.
    pub(crate) fn cancel(&self) {
        self.state().finish(Err(Error::CommandCancelled));
        self.waiting.wake_all();
    }

    /// Waits for the end.
    pub(crate) async fn end(&self) -> Result<i32, Error> {
        poll_fn(|context| self.poll(context, |state| state.end.clone())).await
    }

    /// The next piece of an output; `None` at its end.
    pub(crate) async fn next(&self, which: Which) -> Result<Option<Bytes>, Error> {
        poll_fn(|context| self.poll_piece(which, context)).await
    }

    pub(crate) fn poll_piece(
        &self,
        which: Which,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        self.poll(context, |state| state.piece(which, self.limit))
    }

    /// What was put aside of an output.
    pub(crate) fn take(&self, which: Which) -> Vec<u8> {
        let pieces = std::mem::take(&mut self.state().queue(which).pieces);
        pieces.into_iter().flatten().collect()
    }

    /// Takes events until `wanted` is there.
    fn poll<T>(&self, context: &mut Context<'_>, mut wanted: impl FnMut(&mut State) -> Option<T>) -> Poll<T> {
        let mut state = self.state();
        let mut delivered = false;
        loop {
            if let Some(found) = wanted(&mut state) {
                drop(state);
                // Who goes polls no more, so one of the others has to.
                self.waiting.wake_all();
                return Poll::Ready(found);
            }
            self.waiting.add(context.waker());
            let all = Waker::from(Arc::clone(&self.waiting));
            let event = match state.poll_event(&mut Context::from_waker(&all)) {
                Poll::Ready(event) => event,
                Poll::Pending => {
                    drop(state);
                    if delivered {
                        self.waiting.wake_all();
                    }
                    return Poll::Pending;
                }
            };
            state.deliver(event.map_err(|error| self.explain(error)), self.limit);
            delivered = true;
        }
    }

    /// The time that was allowed is the reason, whoever noticed that it is over.
    fn explain(&self, error: Error) -> Error {
        let late = match &error {
            Error::Timeout { .. } => true,
            Error::Disconnected(said) => said == "Timeout expired",
            other => matches!(other.kind(), ErrorKind::CommandTimeout | ErrorKind::RequestTimeout),
        };
        match self.timeout {
            Some(limit) if late => Error::CommandTimeout { command: self.command.clone(), limit },
            _ => error,
        }
    }
}

impl State {
    fn queue(&mut self, which: Which) -> &mut Queue {
        match which {
            Which::Stdout => &mut self.stdout,
            Which::Stderr => &mut self.stderr,
        }
    }

    /// A piece, or the end of an output, if that is known.
    fn piece(&mut self, which: Which, limit: usize) -> Option<Result<Option<Bytes>, Error>> {
        let end = match &self.end {
            Some(Err(error)) => Some(Some(error.clone())),
            Some(Ok(_)) => Some(None),
            None => None,
        };
        let queue = self.queue(which);
        if let Some(piece) = queue.pieces.pop_front() {
            queue.bytes -= piece.len();
            return Some(Ok(Some(piece)));
        }
        let reason = if queue.lost { Some(Error::OutputTooLarge { limit }) } else { end? };
        Some(match reason {
            Some(error) if !std::mem::replace(&mut queue.told, true) => Err(error),
            _ => Ok(None),
        })
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<ExecEvent, Error>> {
        if let Some(events) = &mut self.events
            && let Poll::Ready(event) = events.poll_next(context)
        {
            return Poll::Ready(event);
        }
        match &mut self.over {
            Some(over) => over.as_mut().poll(context).map(|()| {
                // What exactly is told by whoever knows the limit.
                Err(Error::Timeout { what: "the command".to_owned(), limit: SLACK })
            }),
            None => Poll::Pending,
        }
    }

    fn deliver(&mut self, event: Result<ExecEvent, Error>, limit: usize) {
        match event {
            Ok(ExecEvent::Ready) => {}
            Ok(ExecEvent::Stdout(data)) => self.stdout.push(data, limit),
            Ok(ExecEvent::Stderr(data)) => self.stderr.push(data, limit),
            Ok(ExecEvent::Exit(code)) => self.finish(Ok(code)),
            Ok(ExecEvent::Failed { code, message }) => self.finish(Err(Error::Command { code, message })),
            Err(error) => self.finish(Err(error)),
        }
    }

    fn finish(&mut self, end: Result<i32, Error>) {
        self.events = None;
        self.over = None;
        self.end.get_or_insert(end);
    }
}

impl Queue {
    fn push(&mut self, piece: Bytes, limit: usize) {
        if piece.is_empty() || self.lost {
            return;
        }
        if self.bytes + piece.len() > limit {
            self.lost = true;
            return;
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }
}
