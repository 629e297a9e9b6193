//! A command that runs in a sandbox.
//!
//! One task does everything: it starts the command, puts its output on two tapes and keeps a copy for the result. So a
//! command runs on, and its end is known, whether or not somebody waits.

use std::sync::Arc;
use std::time::Duration;

use ebbtide::proto::bytes::Bytes;
use ebbtide::{CommandOutput, Error, ExecBuilder, ProcessStdin, WindowSize};
use pyo3::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::failure;
use crate::operation::{Cell, Operation};
use crate::outcome::Outcome;
use crate::process::Ours;
use crate::reader::Reader;
use crate::tape::Tape;

/// How much of each output is kept for the result, and on its way to a reader.
const LIMIT: usize = 64 << 20;
/// How long a reader may take for one piece while somebody waits for the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a command ended.
pub(crate) struct Exit {
    command: Vec<String>,
    code: i32,
    stdout: Kept,
    stderr: Kept,
}

/// A copy of what was written, as far as it fits.
#[derive(Default)]
struct Kept {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// More was written than is kept; nothing is then.
    lost: bool,
}

impl Kept {
    fn add(&mut self, piece: &Bytes) {
        self.bytes += piece.len();
        if self.bytes > LIMIT {
            self.lost = true;
            self.pieces = Vec::new();
        } else {
            self.pieces.push(piece.clone());
        }
    }

    fn all(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

impl Exit {
    fn output(&self) -> CommandOutput {
        CommandOutput {
            command: self.command.clone(),
            exit_code: self.code,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }

    /// Command, code, both outputs, and whether they are whole.
    pub(crate) fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let whole = !self.stdout.lost && !self.stderr.lost;
        let (command, code, stdout, stderr) = failure::result(py, &self.output());
        Ok((command, code, stdout, stderr, whole).into_pyobject(py)?.into_any().unbind())
    }
}

/// Something to do with the command's input, and where to say that it is done.
struct Request {
    what: What,
    done: Arc<Cell>,
}

enum What {
    Write(Vec<u8>),
    Close,
    Resize(WindowSize),
}

/// What the task and its handle share.
struct Shared {
    stdout: Arc<Tape>,
    stderr: Arc<Tape>,
    exit: Arc<Cell>,
    cancelled: watch::Sender<bool>,
    /// Somebody waits for the end, so that it must not wait for a reader who reads no more.
    awaited: watch::Sender<bool>,
}

impl Shared {
    /// Waits for a reader who is behind: for as long as nobody waits for the end, and then for a moment.
    async fn room(&self, tape: &Tape) {
        let mut awaited = self.awaited.subscribe();
        tokio::select! {
            () = tape.room() => return,
            _ = awaited.wait_for(|awaited| *awaited) => {}
        }
        if timeout(PATIENCE, tape.room()).await.is_err() {
            tape.lose();
        }
    }
}

/// A command that runs in a sandbox.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Process {
    inner: Ours<(Arc<Shared>, mpsc::UnboundedSender<Request>)>,
}

impl Process {
    pub(crate) fn start(command: ExecBuilder, argv: Vec<String>, check: bool) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            stdout: Tape::new(LIMIT),
            stderr: Tape::new(LIMIT),
            exit: Arc::default(),
            cancelled: watch::Sender::new(false),
            awaited: watch::Sender::new(false),
        });
        let task = Arc::clone(&shared);
        Operation::fill(Arc::clone(&shared.exit), async move {
            let mut cancelled = task.cancelled.subscribe();
            let ended = tokio::select! {
                ended = run(&task, command, argv, queue) => ended,
                // Dropped with what it has, the command is ended.
                Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Err(Error::CommandCancelled),
            };
            let end = ended.as_ref().map(drop).map_err(Clone::clone);
            task.stdout.finish(end.clone());
            task.stderr.finish(end);
            let exit = ended?;
            if check && exit.code != 0 {
                return Err(Error::CommandFailed(Box::new(exit.output())));
            }
            Ok(Outcome::Exit(Arc::new(exit)))
        });
        Self { inner: Ours::new((shared, requests)) }
    }

    fn shared(&self) -> PyResult<&Shared> {
        Ok(&self.inner.get().map_err(failure::refused)?.0)
    }

    fn request(&self, what: What) -> PyResult<Operation> {
        let (_, requests) = self.inner.get().map_err(failure::refused)?;
        let done = Arc::<Cell>::default();
        if requests.send(Request { what, done: Arc::clone(&done) }).is_err() {
            done.complete(Err(Error::InputClosed));
        }
        Ok(Operation::of(done))
    }
}

#[pymethods]
impl Process {
    /// What is over when the command has ended.
    fn exit(&self) -> PyResult<Operation> {
        Ok(Operation::of(Arc::clone(&self.shared()?.exit)))
    }

    /// Somebody waits for the end: output that nobody reads does not hold it up any more.
    fn expect(&self) -> PyResult<()> {
        self.shared()?.awaited.send_replace(true);
        Ok(())
    }

    /// Standard output.
    fn stdout(&self) -> PyResult<Reader> {
        Ok(Reader::of(Arc::clone(&self.shared()?.stdout)))
    }

    /// Standard error.
    fn stderr(&self) -> PyResult<Reader> {
        Ok(Reader::of(Arc::clone(&self.shared()?.stderr)))
    }

    /// Writes to standard input, behind what was written before.
    fn write(&self, data: Vec<u8>) -> PyResult<Operation> {
        self.request(What::Write(data))
    }

    /// Closes standard input, behind what was written before.
    fn close_stdin(&self) -> PyResult<Operation> {
        self.request(What::Close)
    }

    /// Changes the size of the terminal.
    fn resize(&self, columns: u16, rows: u16) -> PyResult<Operation> {
        self.request(What::Resize(WindowSize { columns, rows }))
    }

    /// Ends the command; whether it had not ended yet.
    fn cancel(&self) -> PyResult<bool> {
        let shared = self.shared()?;
        let running = !shared.exit.is_over();
        shared.cancelled.send_replace(true);
        Ok(running)
    }
}

async fn run(
    shared: &Shared,
    command: ExecBuilder,
    argv: Vec<String>,
    mut requests: mpsc::UnboundedReceiver<Request>,
) -> Result<Exit, Error> {
    let mut process = command.start().await?;
    let mut stdin = process.stdin.take();
    let reading = async {
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let (mut more_stdout, mut more_stderr) = (true, true);
        while more_stdout || more_stderr {
            shared.room(&shared.stdout).await;
            shared.room(&shared.stderr).await;
            let (kept, tape, more, piece) = tokio::select! {
                piece = process.stdout.next(), if more_stdout =>
                    (&mut stdout, &shared.stdout, &mut more_stdout, piece),
                piece = process.stderr.next(), if more_stderr =>
                    (&mut stderr, &shared.stderr, &mut more_stderr, piece),
            };
            match piece? {
                Some(piece) => {
                    kept.add(&piece);
                    tape.push(piece);
                }
                None => *more = false,
            }
        }
        Ok::<_, Error>((stdout, stderr, process.wait().await?))
    };
    let serving = async {
        while let Some(Request { what, done }) = requests.recv().await {
            let result = match what {
                What::Write(data) => write(stdin.as_mut(), &data).await,
                What::Close => {
                    if let Some(mut open) = stdin.take() {
                        // A command that has ended needs no end of file.
                        let _ = open.shutdown().await;
                    }
                    Ok(())
                }
                What::Resize(size) => {
                    if process.resize(size).await {
                        Ok(())
                    } else {
                        Err(Error::InputClosed)
                    }
                }
            };
            done.complete(result.map(|()| Outcome::Nothing));
        }
        // The handle is gone, the command goes on with an input that stays as it is.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = reading => {
            let (stdout, stderr, code) = ended?;
            requests.close();
            while let Ok(Request { done, .. }) = requests.try_recv() {
                done.complete(Err(Error::InputClosed));
            }
            Ok(Exit { command: argv, code, stdout, stderr })
        }
        () = serving => Err(Error::CommandCancelled),
    }
}

async fn write(stdin: Option<&mut ProcessStdin>, data: &[u8]) -> Result<(), Error> {
    let stdin = stdin.ok_or(Error::InputClosed)?;
    stdin.write_all(data).await.map_err(|_| Error::InputClosed)
}
