//! The one thread of this crate: it drives every connection, and whatever must go on when its caller gave up.
//!
//! A connection belongs to the runtime that opened it. With a runtime of its own, a handle works in whichever
//! runtime its user is, also after that one has gone, and outside of any.
//!
//! Threads do not survive a fork, so a forked child gets an engine of its own on first use; the parent's is
//! forgotten there, never dropped: it would wait for threads that are not there ([`ProcessLocal`]).

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use crate::{Error, ProcessLocal};

thread_local! {
    /// Whether this is a thread of the engine.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

static ENGINE: ProcessLocal<Mutex<Option<Runtime>>> = ProcessLocal::new();

/// The runtime's handle, made on first use in this process.
pub(crate) fn handle() -> Result<Handle, Error> {
    let mut engine = ENGINE.get().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = engine.as_ref() {
        return Ok(runtime.handle().clone());
    }
    let runtime = start().map_err(|source| Error::io("start the thread of the sandbox client", source))?;
    Ok(engine.insert(runtime).handle().clone())
}

fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("ebbtide")
        .on_thread_start(|| INSIDE.set(true))
        .enable_all()
        .build()
}

/// Starts something on the thread of this crate, in any thread, inside a runtime or outside of any. It goes on when the
/// handle is dropped. For bindings to other languages, whose callers have no runtime; in Rust, await it where you are.
///
/// ```
/// # async fn example() -> Result<(), ebbtide::Error> {
/// let made = ebbtide::spawn(async { ebbtide::Sandbox::builder().run().await })?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn<F>(future: F) -> Result<JoinHandle<F::Output>, Error>
where
    F: Future<Output: Send> + Send + 'static,
{
    Ok(handle()?.spawn(future))
}

/// Runs something there to its end, whatever becomes of the caller.
pub(crate) async fn run_on<F, T>(future: F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    spawn(future)?.await.unwrap_or_else(cut_off)
}

/// Runs something there, and ends it when the caller gives up.
pub(crate) async fn run<F, T>(future: F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    AbortOnDropHandle::new(spawn(future)?).await.unwrap_or_else(cut_off)
}

fn cut_off<T>(error: JoinError) -> Result<T, Error> {
    Err(Error::io("end a call", io::Error::other(error)))
}

/// Runs something there and waits, in any thread but that one.
pub(crate) fn block_on<F, T>(future: F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    if INSIDE.get() {
        return Err(Error::BlockingInside);
    }
    let (sender, receiver) = sync_channel(1);
    spawn(async move {
        // Nobody waits any more only if the caller's thread is gone.
        let _ = sender.send(future.await);
    })?;
    receiver.recv().unwrap_or_else(|error| Err(Error::io("end a call", io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocking_works_in_a_runtime_too() {
        assert_eq!(block_on(async { Ok(7) }).unwrap(), 7);
    }

    #[test]
    fn blocking_on_the_engine_itself_is_refused_and_not_a_deadlock() {
        let inner = block_on(async { Ok(block_on(async { Ok(()) })) }).unwrap();
        assert!(matches!(inner, Err(Error::BlockingInside)));
    }

    #[test]
    fn a_call_that_must_be_made_goes_on_when_its_caller_gives_up_and_others_do_not() {
        for goes_on in [true, false] {
            let (sender, receiver) = sync_channel(1);
            let (go, wait) = tokio::sync::oneshot::channel::<()>();
            let work = async move {
                let _ = wait.await;
                let _ = sender.send(());
                Ok(())
            };
            let waiting = block_on(async move {
                let limit = std::time::Duration::from_millis(1);
                Ok(if goes_on {
                    tokio::time::timeout(limit, run_on(work)).await.is_err()
                } else {
                    tokio::time::timeout(limit, run(work)).await.is_err()
                })
            });
            assert!(waiting.unwrap());
            // The work that was ended is not there to be told.
            let _ = go.send(());
            assert_eq!(receiver.recv().is_ok(), goes_on);
        }
    }
}
