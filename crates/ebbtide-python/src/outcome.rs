//! What comes of an operation: a Rust value until a thread of Python's asks for it.

use std::sync::Arc;

use ebbtide::proto::bytes::Bytes;
use ebbtide::{Description, Error, Receipt};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::exec::Exit;
use crate::failure;
use crate::function::Answer;
use crate::ownership;
use crate::sandbox::Sandbox;

#[derive(Clone)]
pub(crate) enum Outcome {
    Nothing,
    Bytes(Bytes),
    Sandbox(ebbtide::Sandbox),
    Sandboxes(Vec<ebbtide::Sandbox>),
    Exit(Arc<Exit>),
    Answer(Arc<Answer>),
    Description(Arc<Description>),
    Receipt(Receipt),
    /// The sandboxes that could not be stopped.
    NotStopped(Vec<(String, Error)>),
}

impl Outcome {
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Nothing => py.None(),
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Self::Sandbox(sandbox) => Py::new(py, Sandbox::found(sandbox))?.into_any(),
            Self::Sandboxes(all) => {
                let all: Vec<_> =
                    all.into_iter().map(|one| Py::new(py, Sandbox::found(one))).collect::<PyResult<_>>()?;
                PyList::new(py, all)?.into_any().unbind()
            }
            Self::Exit(exit) => exit.to_python(py)?,
            Self::Answer(answer) => answer.to_python(py)?,
            Self::Description(described) => ownership::description(py, &described)?.into_any().unbind(),
            Self::Receipt(receipt) => ownership::receipt(py, &receipt)?.into_any().unbind(),
            Self::NotStopped(failures) => failure::describe_all(py, &failures)?.into_any().unbind(),
        })
    }
}
