//! One sandbox.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide::{Description, Error, ListOptions, LogOptions, SandboxState, StopFor, StopOptions, WindowSize};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exec::Process;
use crate::files::{self, FileWriter};
use crate::function::{self, Call};
use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::process::Ours;
use crate::reader::Reader;
use crate::session::Session;
use crate::spec::{Spec, seconds};
use crate::{connection, failure, logs, owned};

/// One sandbox, not started before something needs it.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Sandbox {
    inner: Ours<Held>,
}

struct Held {
    sandbox: ebbtide::Sandbox,
    /// Its number among those that end with this process.
    number: u64,
    /// Whether it is one of those once it is started.
    ours: AtomicBool,
}

impl Sandbox {
    /// One that is there already and belongs to whoever made it.
    pub(crate) fn found(sandbox: ebbtide::Sandbox) -> Self {
        Self::new(sandbox, false)
    }

    fn new(sandbox: ebbtide::Sandbox, ours: bool) -> Self {
        let held = Held { sandbox, number: owned::number(), ours: AtomicBool::new(ours) };
        Self { inner: Ours::new(held) }
    }

    fn held(&self) -> PyResult<&Held> {
        self.inner.get().map_err(failure::refused)
    }

    /// The sandbox, about to be started if it was not.
    fn needed(&self) -> PyResult<ebbtide::Sandbox> {
        let held = self.held()?;
        if held.ours.load(Ordering::Relaxed) && held.sandbox.id().is_none() {
            owned::own(held.number, &held.sandbox);
        }
        Ok(held.sandbox.clone())
    }

    /// The sandbox as the client has it.
    pub(crate) fn sandbox(&self) -> PyResult<ebbtide::Sandbox> {
        Ok(self.held()?.sandbox.clone())
    }

    fn described<F>(&self, call: impl FnOnce(ebbtide::Sandbox) -> F) -> PyResult<Operation>
    where
        F: Future<Output = Result<Description, Error>> + Send + 'static,
    {
        let call = call(self.sandbox()?);
        Ok(Operation::start(async move { Ok(Outcome::Description(Arc::new(call.await?))) }))
    }

    fn operate<F>(&self, call: impl FnOnce(ebbtide::Sandbox) -> F) -> PyResult<Operation>
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        Ok(Operation::start(call(self.needed()?)))
    }
}

#[pymethods]
impl Sandbox {
    #[new]
    #[pyo3(signature = (spec, session=None, base_url=None))]
    fn build(spec: Spec, session: Option<&Session>, base_url: Option<&str>) -> PyResult<Self> {
        let ours = !spec.detach;
        let builder = match session {
            Some(session) => session.builder()?,
            None => {
                let connection = connection::connection(base_url).map_err(failure::refused)?;
                ebbtide::Sandbox::builder().connection(connection)
            }
        };
        let sandbox = spec.apply(builder)?.build().map_err(failure::refused)?;
        Ok(Self::new(sandbox, ours))
    }

    /// The sandbox with this id.
    #[staticmethod]
    #[pyo3(signature = (sandbox_id, base_url=None))]
    fn from_id(sandbox_id: String, base_url: Option<&str>) -> PyResult<Operation> {
        let connection = connection::connection(base_url).map_err(failure::refused)?;
        Ok(Operation::start(async move {
            ebbtide::Sandbox::from_id_on(&connection, &sandbox_id).await.map(Outcome::Sandbox)
        }))
    }

    /// The sandboxes that match.
    #[staticmethod]
    #[pyo3(signature = (tags, state=None, show_terminated=false, orphaned=false, base_url=None))]
    fn list(
        tags: Vec<String>,
        state: Option<&str>,
        show_terminated: bool,
        orphaned: bool,
        base_url: Option<&str>,
    ) -> PyResult<Operation> {
        let connection = connection::connection(base_url).map_err(failure::refused)?;
        let options = list_options(tags, state, show_terminated, orphaned)?;
        Ok(Operation::start(async move {
            ebbtide::Sandbox::list_on(&connection, options).await.map(Outcome::Sandboxes)
        }))
    }

    /// Ends the sandbox with this id at once.
    #[staticmethod]
    #[pyo3(signature = (sandbox_id, missing_ok=false, base_url=None))]
    fn delete(sandbox_id: String, missing_ok: bool, base_url: Option<&str>) -> PyResult<Operation> {
        let connection = connection::connection(base_url).map_err(failure::refused)?;
        Ok(owned::promise(async move {
            let deleted = ebbtide::Sandbox::delete_on(&connection, &sandbox_id, missing_ok).await;
            deleted.map(|()| Outcome::Nothing)
        }))
    }

    /// The id; `None` until it was started.
    fn id(&self) -> PyResult<Option<String>> {
        Ok(self.held()?.sandbox.id())
    }

    /// What was last heard of it; `None` until it was started.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(info) = self.held()?.sandbox.info() else { return Ok(None) };
        let said = PyDict::new(py);
        said.set_item("state", info.state.as_str())?;
        said.set_item("reason", info.reason)?;
        said.set_item("exit_code", info.exit_code)?;
        said.set_item("image", info.image)?;
        said.set_item("command", info.command)?;
        said.set_item("tags", info.tags)?;
        said.set_item("annotations", info.annotations)?;
        let limits = [("cpu", info.limits.cpu), ("memory", info.limits.memory)];
        let limits: BTreeMap<_, _> =
            limits.into_iter().filter_map(|(name, amount)| Some((name, amount?))).collect();
        said.set_item("limits", limits)?;
        said.set_item("max_lifetime", info.max_lifetime.as_secs_f64())?;
        said.set_item("runner_id", info.runner_id)?;
        said.set_item("created_at", info.created_at.map(timestamp))?;
        said.set_item("started_at", info.started_at.map(timestamp))?;
        said.set_item("ended_at", info.ended_at.map(timestamp))?;
        said.set_item("files_until", info.files_until.map(timestamp))?;
        said.set_item("seen_at", timestamp(info.seen_at))?;
        Ok(Some(said))
    }

    /// Asks for it.
    fn start(&self) -> PyResult<Operation> {
        self.operate(|sandbox| async move { sandbox.start().await.map(|()| Outcome::Nothing) })
    }

    /// Waits until commands can be run in it.
    #[pyo3(signature = (limit=None))]
    fn wait(&self, limit: Option<f64>) -> PyResult<Operation> {
        let limit = limit.map(seconds).transpose()?;
        self.operate(|sandbox| async move {
            match limit {
                Some(limit) => sandbox.wait_within(limit).await,
                None => sandbox.wait().await,
            }
            .map(|_| Outcome::Nothing)
        })
    }

    /// Waits until it has ended; if `by_itself`, any other end is an error.
    fn wait_until_complete(&self, limit: f64, by_itself: bool) -> PyResult<Operation> {
        let limit = seconds(limit)?;
        self.operate(|sandbox| async move {
            if by_itself {
                sandbox.wait_until_complete(limit).await?;
            } else {
                sandbox.start().await?;
                sandbox.ended(limit).await?;
            }
            Ok(Outcome::Nothing)
        })
    }

    /// Asks the daemon how it is; `info` has the answer.
    fn status(&self) -> PyResult<Operation> {
        let sandbox = self.held()?.sandbox.clone();
        Ok(Operation::start(async move { sandbox.status().await.map(|_| Outcome::Nothing) }))
    }

    /// Ends it and waits for that; `at_end` of its block its keep policy is asked.
    #[pyo3(signature = (grace, missing_ok=false, at_end=false))]
    fn stop(&self, grace: f64, missing_ok: bool, at_end: bool) -> PyResult<Operation> {
        let stop_for = if at_end { StopFor::Scope } else { StopFor::Caller };
        let options = StopOptions::default().grace(seconds(grace)?).missing_ok(missing_ok).stop_for(stop_for);
        let held = self.held()?;
        let (sandbox, number) = (held.sandbox.clone(), held.number);
        Ok(owned::promise(async move {
            sandbox.stop_with(options).await?;
            owned::disown(number);
            Ok(Outcome::Nothing)
        }))
    }

    /// Takes it from now on as one that ends with this process.
    fn own(&self) -> PyResult<()> {
        let held = self.held()?;
        held.ours.store(true, Ordering::Relaxed);
        owned::own(held.number, &held.sandbox);
        Ok(())
    }

    /// Lets it live on when this process ends.
    fn forget(&self) -> PyResult<()> {
        let held = self.held()?;
        held.ours.store(false, Ordering::Relaxed);
        held.sandbox.forget();
        owned::disown(held.number);
        Ok(())
    }

    /// Tells the daemon that nobody owns it any more.
    fn detach(&self) -> PyResult<Operation> {
        self.described(|sandbox| async move { sandbox.detach().await })
    }

    /// Takes it over.
    fn adopt(&self) -> PyResult<Operation> {
        self.described(|sandbox| async move { sandbox.adopt().await })
    }

    /// All that is known of it.
    fn describe(&self) -> PyResult<Operation> {
        self.described(|sandbox| async move { sandbox.describe().await })
    }

    /// Freezes what runs in it.
    fn pause(&self) -> PyResult<Operation> {
        self.described(|sandbox| async move { sandbox.pause().await })
    }

    /// Goes on with what was frozen.
    fn resume(&self) -> PyResult<Operation> {
        self.described(|sandbox| async move { sandbox.resume().await })
    }

    /// What its end released.
    fn receipt(&self) -> PyResult<Operation> {
        let sandbox = self.sandbox()?;
        Ok(Operation::start(async move { sandbox.receipt().await.map(Outcome::Receipt) }))
    }

    /// Runs a command in it.
    #[pyo3(signature = (command, cwd=None, check=false, timeout=None, stdin=false, terminal=None))]
    fn exec(
        &self,
        command: Vec<String>,
        cwd: Option<String>,
        check: bool,
        timeout: Option<f64>,
        stdin: bool,
        terminal: Option<(u16, u16)>,
    ) -> PyResult<Process> {
        let mut exec = self.needed()?.exec(command.iter().map(String::as_str));
        if let Some(dir) = cwd {
            exec = exec.cwd(dir);
        }
        if let Some(limit) = timeout {
            exec = exec.timeout(seconds(limit)?);
        }
        if stdin {
            exec = exec.stdin();
        }
        if let Some((columns, rows)) = terminal {
            exec = exec.terminal(WindowSize { columns, rows });
        }
        Ok(Process::start(exec, command, check))
    }

    /// The content of a file.
    fn read_file(&self, path: String) -> PyResult<Operation> {
        self.operate(
            |sandbox| async move { sandbox.read_file(path).await.map(|all| Outcome::Bytes(all.into())) },
        )
    }

    /// Replaces the content of a file.
    fn write_file(&self, path: String, content: Vec<u8>) -> PyResult<Operation> {
        self.operate(
            |sandbox| async move { sandbox.write_file(path, content).await.map(|()| Outcome::Nothing) },
        )
    }

    /// A file in pieces.
    fn read_file_stream(&self, path: String) -> PyResult<Reader> {
        Ok(files::read(self.needed()?, path))
    }

    /// A file that is written in pieces.
    fn write_file_stream(&self, path: String) -> PyResult<FileWriter> {
        Ok(FileWriter::new(self.needed()?, path))
    }

    /// The lines that its main command wrote.
    #[pyo3(signature = (follow=false, tail=None, since=None, timestamps=false, timeout=None))]
    fn logs(
        &self,
        follow: bool,
        tail: Option<u32>,
        since: Option<f64>,
        timestamps: bool,
        timeout: Option<f64>,
    ) -> PyResult<Reader> {
        let since = since.map(seconds).transpose()?.map(|since| UNIX_EPOCH + since);
        let limit = timeout.map(seconds).transpose()?;
        Ok(logs::follow(self.needed()?, LogOptions { follow, tail, since, timestamps }, limit))
    }

    /// Runs a function's call in it and ends it.
    fn call(
        &self,
        payload_path: String,
        payload: Vec<u8>,
        command: Vec<String>,
        answer_path: String,
    ) -> PyResult<Operation> {
        let call = Call { payload_path, payload, command, answer_path };
        self.operate(|sandbox| function::call(sandbox, call))
    }
}

/// Which sandboxes to list.
pub(crate) fn list_options(
    tags: Vec<String>,
    state: Option<&str>,
    show_terminated: bool,
    orphaned: bool,
) -> PyResult<ListOptions> {
    let unknown = |name: &str| PyValueError::new_err(format!("{name:?} is no state of a sandbox"));
    let state = state
        .map(|name| {
            SandboxState::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| unknown(name))
        })
        .transpose()?;
    Ok(ListOptions { tags, state, show_terminated, orphaned })
}

/// Seconds since 1970.
pub(crate) fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
