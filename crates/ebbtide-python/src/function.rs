//! Running a function of a Python program in a sandbox of its own, as one operation.

use std::sync::Arc;

use ebbtide::{CommandOutput, Error, ErrorKind, Sandbox, StopOptions};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure;
use crate::outcome::Outcome;

/// Where what goes in and what comes out lies in the sandbox, and what runs it.
pub(crate) struct Call {
    pub(crate) payload_path: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) command: Vec<String>,
    pub(crate) answer_path: String,
}

/// What the command did, and what it left as its answer.
pub(crate) struct Answer {
    output: CommandOutput,
    answer: Option<Vec<u8>>,
}

impl Answer {
    pub(crate) fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let answer = self.answer.as_ref().map(|answer| PyBytes::new(py, answer));
        Ok((failure::result(py, &self.output), answer).into_pyobject(py)?.into_any().unbind())
    }
}

/// Makes the call in a sandbox that ends with it, whatever comes of it.
pub(crate) async fn call(sandbox: Sandbox, call: Call) -> Result<Outcome, Error> {
    let answered = answer(&sandbox, call).await;
    let stopped = sandbox.stop_with(StopOptions::now().missing_ok(true)).await;
    let answer = answered?;
    // What was asked for is here. A sandbox that could not be stopped stays with its process, which tries again.
    drop(stopped);
    Ok(Outcome::Answer(Arc::new(answer)))
}

async fn answer(sandbox: &Sandbox, call: Call) -> Result<Answer, Error> {
    sandbox.write_file(call.payload_path, call.payload).await?;
    let output = sandbox.exec(call.command).output().await?;
    match sandbox.read_file(call.answer_path).await {
        Ok(answer) => Ok(Answer { output, answer: Some(answer) }),
        // It says by its exit code and in words what went wrong.
        Err(error) if error.kind() == ErrorKind::File => Ok(Answer { output, answer: None }),
        Err(error) => Err(error),
    }
}
