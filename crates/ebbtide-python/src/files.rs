//! Files in pieces, both ways.

use std::sync::Arc;

use ebbtide::{Error, Sandbox, WriteOptions, Writer};
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::failure;
use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::process::Ours;
use crate::reader::Reader;
use crate::tape::Tape;

/// How much of a file is read ahead.
const AHEAD: usize = 4 << 20;

/// Reads a file for as long as the reader is there.
pub(crate) fn read(sandbox: Sandbox, path: String) -> Reader {
    let tape = Tape::new(AHEAD);
    let reader = Reader::of(Arc::clone(&tape));
    // The reader's end is its tape; nobody asks this operation.
    let _ = Operation::start(async move {
        let reading = async {
            let mut file = sandbox.read_file_stream(path).await?;
            while let Some(piece) = file.next().await? {
                tape.push(piece);
                tape.room().await;
            }
            Ok(())
        };
        let read = tokio::select! {
            read = reading => read,
            () = tape.closed() => Ok(()),
        };
        tape.finish(read);
        Ok(Outcome::Nothing)
    });
    reader
}

/// Where the file is while no call has it.
type Open = Arc<Mutex<Option<Writer>>>;

/// A file that is being written: there once it is committed, and not at all if this is dropped before.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct FileWriter {
    inner: Ours<(Sandbox, String, Open)>,
}

impl FileWriter {
    pub(crate) fn new(sandbox: Sandbox, path: String) -> Self {
        Self { inner: Ours::new((sandbox, path, Open::default())) }
    }
}

#[pymethods]
impl FileWriter {
    /// Opens it.
    fn open(&self) -> PyResult<Operation> {
        let (sandbox, path, open) = self.inner.get().map_err(failure::refused)?.clone();
        Ok(Operation::start(async move {
            let writer = sandbox.write_file_stream(path, WriteOptions::default()).await?;
            *open.lock().await = Some(writer);
            Ok(Outcome::Nothing)
        }))
    }

    /// Writes a piece.
    fn write(&self, data: Vec<u8>) -> PyResult<Operation> {
        let (_, _, open) = self.inner.get().map_err(failure::refused)?.clone();
        Ok(Operation::start(async move {
            match open.lock().await.as_mut() {
                Some(writer) => writer.write(data).await.map(|()| Outcome::Nothing),
                None => Err(Error::InputClosed),
            }
        }))
    }

    /// Puts it in place.
    fn commit(&self) -> PyResult<Operation> {
        let (_, _, open) = self.inner.get().map_err(failure::refused)?.clone();
        Ok(Operation::start(async move {
            match open.lock().await.take() {
                Some(writer) => writer.commit().await.map(|()| Outcome::Nothing),
                None => Err(Error::InputClosed),
            }
        }))
    }
}
