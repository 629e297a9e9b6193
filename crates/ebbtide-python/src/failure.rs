//! Errors as Python gets them: a dictionary, of which the package makes an exception of the right class.

use ebbtide::{CommandOutput, Error};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

/// Everything that is known of an error.
pub(crate) fn describe<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyDict>> {
    let said = PyDict::new(py);
    said.set_item("kind", format!("{:?}", error.kind()))?;
    said.set_item("message", error.to_string())?;
    said.set_item("reason", error.reason())?;
    said.set_item("request_id", error.request_id())?;
    said.set_item("retry_delay", error.retry_delay().map(|delay| delay.as_secs_f64()))?;
    let fields: Vec<_> = error.fields().into_iter().map(|field| (field.field, field.description)).collect();
    said.set_item("fields", fields)?;
    let metadata = PyDict::new(py);
    if let Some(rejection) = error.rejection() {
        said.set_item("code", format!("{:?}", rejection.code))?;
        said.set_item("trusted", rejection.trusted)?;
        for (key, value) in &rejection.metadata {
            metadata.set_item(key, value)?;
        }
    }
    said.set_item("metadata", metadata)?;
    match error {
        Error::SandboxFailed { id, reason } | Error::SandboxTerminated { id, reason } => {
            said.set_item("sandbox_id", id)?;
            said.set_item("status_reason", reason)?;
        }
        Error::NotRunning { id, .. } => said.set_item("sandbox_id", id)?,
        Error::CommandFailed(output) => said.set_item("result", result(py, output))?,
        Error::CloseFailed { failures } => said.set_item("failures", describe_all(py, failures)?)?,
        _ => {}
    }
    Ok(said)
}

/// Each sandbox that could not be stopped, and why.
pub(crate) fn describe_all<'py>(
    py: Python<'py>,
    failures: &[(String, Error)],
) -> PyResult<Bound<'py, PyList>> {
    let all: Vec<_> =
        failures.iter().map(|(id, error)| Ok((id, describe(py, error)?))).collect::<PyResult<_>>()?;
    PyList::new(py, all)
}

/// Command, exit code and both outputs.
pub(crate) fn result<'py>(
    py: Python<'py>,
    output: &CommandOutput,
) -> (Vec<String>, i32, Bound<'py, PyBytes>, Bound<'py, PyBytes>) {
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
    (output.command.clone(), output.exit_code, bytes(&output.stdout), bytes(&output.stderr))
}

/// An error of a call that never waits, as the package's exception for it.
pub(crate) fn refused(error: Error) -> PyErr {
    Python::attach(|py| {
        let made = describe(py, &error)
            .and_then(|said| py.import("ebbtide._errors")?.getattr("error")?.call1((said,)))
            .map(PyErr::from_value);
        made.unwrap_or_else(|problem| problem)
    })
}
