//! Something that goes on by itself, and what comes of it.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ebbtide::Error;
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::failure;
use crate::notify::{Bell, Notifier};
use crate::outcome::Outcome;
use crate::process::Ours;

/// How long is waited at a time before signals are looked at. Ctrl-C must work within a tenth of a second.
const SLICE: Duration = Duration::from_millis(50);

/// Where the outcome of an operation will be.
#[derive(Default)]
pub(crate) struct Cell {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<Outcome, Error>>,
    watchers: Vec<Watcher>,
}

/// Who is to be told.
enum Watcher {
    Loop(Arc<Bell>, u64),
    Task(oneshot::Sender<()>),
}

impl Cell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first outcome counts.
    pub(crate) fn complete(&self, outcome: Result<Outcome, Error>) {
        let mut state = self.state();
        state.outcome.get_or_insert(outcome);
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        self.over.notify_all();
        for watcher in watchers {
            match watcher {
                Watcher::Loop(bell, number) => bell.ring(number),
                // Nobody waits any more.
                Watcher::Task(sender) => drop(sender.send(())),
            }
        }
    }

    pub(crate) fn outcome(&self) -> Option<Result<Outcome, Error>> {
        self.state().outcome.clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().outcome.is_some()
    }

    /// Whether it will be told; not if it is over already.
    fn watch(&self, watcher: Watcher) -> bool {
        let mut state = self.state();
        let waits = state.outcome.is_none();
        if waits {
            state.watchers.push(watcher);
        }
        waits
    }

    /// Waits in a task.
    pub(crate) async fn done(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.watch(Watcher::Task(sender)) {
            let _ = receiver.await;
        }
    }

    /// Waits in a thread; whether it is over.
    fn wait(&self, limit: Duration) -> bool {
        let waiting = |state: &mut State| state.outcome.is_none();
        let waited = self.over.wait_timeout_while(self.state(), limit, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Completes a cell also where what was to do that is dropped.
struct Completion(Arc<Cell>);

impl Drop for Completion {
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.0.complete(Err(Error::CommandCancelled));
        }
    }
}

/// Something that goes on by itself.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Operation {
    cell: Ours<Arc<Cell>>,
}

impl Operation {
    pub(crate) fn of(cell: Arc<Cell>) -> Self {
        Self { cell: Ours::new(cell) }
    }

    /// Begins it. It goes on whether or not somebody waits.
    pub(crate) fn start<F>(future: F) -> Self
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let cell = Arc::<Cell>::default();
        Self::fill(Arc::clone(&cell), future);
        Self::of(cell)
    }

    /// Begins something whose outcome is to be in `cell`.
    pub(crate) fn fill<F>(cell: Arc<Cell>, future: F)
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let completion = Completion(Arc::clone(&cell));
        let begun = ebbtide::spawn(async move {
            let outcome = future.await;
            completion.0.complete(outcome);
        });
        if let Err(error) = begun {
            cell.complete(Err(error));
        }
    }

    pub(crate) fn cell(&self) -> PyResult<Arc<Cell>> {
        Ok(Arc::clone(self.cell.get().map_err(failure::refused)?))
    }
}

#[pymethods]
impl Operation {
    /// Whether it is over.
    fn done(&self) -> PyResult<bool> {
        Ok(self.cell()?.is_over())
    }

    /// Waits without the interpreter's lock until it is over or so many seconds have passed; whether it is over.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let cell = self.cell()?;
        // More than a lifetime is without bound.
        let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            if py.detach(|| cell.wait(slice)) {
                return Ok(true);
            }
            py.check_signals()?;
            if left.is_some_and(|left| left <= SLICE) {
                return Ok(cell.is_over());
            }
        }
    }

    /// Has `notifier` told by `number` when it is over; `False` if it is already.
    fn watch(&self, notifier: &Notifier, number: u64) -> PyResult<bool> {
        Ok(self.cell()?.watch(Watcher::Loop(notifier.bell()?, number)))
    }

    /// `(True, value)` or `(False, failure)`; `None` while it goes on.
    fn outcome(&self, py: Python<'_>) -> PyResult<Option<(bool, Py<PyAny>)>> {
        match self.cell()?.outcome() {
            None => Ok(None),
            Some(Ok(outcome)) => Ok(Some((true, outcome.into_python(py)?))),
            Some(Err(error)) => Ok(Some((false, failure::describe(py, &error)?.into_any().unbind()))),
        }
    }
}

/// An operation that the package does itself.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Promise {
    cell: Ours<Arc<Cell>>,
}

#[pymethods]
impl Promise {
    #[new]
    fn new() -> Self {
        Self { cell: Ours::new(Arc::default()) }
    }

    /// The operation that whoever waits for it gets.
    fn operation(&self) -> PyResult<Operation> {
        Ok(Operation::of(Arc::clone(self.cell.get().map_err(failure::refused)?)))
    }

    /// It is over. How it went, the package knows.
    fn keep(&self) -> PyResult<()> {
        self.cell.get().map_err(failure::refused)?.complete(Ok(Outcome::Nothing));
        Ok(())
    }
}
