//! The reading end of a tape.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure;
use crate::operation::Operation;
use crate::process::Ours;
use crate::tape::{Next, Tape};

/// Reads what a task puts out. That task ends when this goes.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Reader {
    tape: Ours<Arc<Tape>>,
}

impl Reader {
    pub(crate) fn of(tape: Arc<Tape>) -> Self {
        Self { tape: Ours::new(tape) }
    }

    fn tape(&self) -> PyResult<&Arc<Tape>> {
        self.tape.get().map_err(failure::refused)
    }
}

#[pymethods]
impl Reader {
    /// `(0, piece)`, `(1, None)` if there is nothing yet, `(2, None)` at the end, `(3, failure)` where it breaks off.
    fn read(&self, py: Python<'_>) -> PyResult<(u8, Py<PyAny>)> {
        Ok(match self.tape()?.next() {
            Next::Piece(piece) => (0, PyBytes::new(py, &piece).into_any().unbind()),
            Next::NothingYet => (1, py.None()),
            Next::End => (2, py.None()),
            Next::Failed(error) => (3, failure::describe(py, &error)?.into_any().unbind()),
        })
    }

    /// Is over when there is something to read, or the end.
    fn readable(&self) -> PyResult<Operation> {
        Ok(Operation::of(self.tape()?.readable()))
    }

    /// Nothing more is wanted.
    fn close(&self) -> PyResult<()> {
        self.tape()?.close();
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Ok(tape) = self.tape.get() {
            tape.close();
        }
    }
}
