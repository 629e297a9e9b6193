//! Who stands for a sandbox and what its end released, as dictionaries of which the package makes its classes.

use std::time::SystemTime;

use ebbtide::{Deadline, Description, End, Holder, MainEnd, Ownership, Receipt};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::sandbox::timestamp;

type Dict<'py> = PyResult<Bound<'py, PyDict>>;

/// All that is known of a sandbox.
pub(crate) fn description<'py>(py: Python<'py>, described: &Description) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("principal", &described.principal)?;
    said.set_item("ownership", ownership(py, &described.ownership)?)?;
    let policy = &described.policy;
    let policy_said = PyDict::new(py);
    policy_said.set_item("detach", policy.detach)?;
    policy_said.set_item("orphan_grace_seconds", policy.orphan_grace.as_secs_f64())?;
    policy_said.set_item("keep", policy.keep.as_str())?;
    policy_said.set_item("keep_for_seconds", policy.keep_for.as_secs_f64())?;
    policy_said.set_item("keep_as", policy.keep_as.as_str())?;
    policy_said.set_item("idle_timeout_seconds", policy.idle_timeout.map(|timeout| timeout.as_secs_f64()))?;
    policy_said.set_item("on_idle", policy.on_idle.as_str())?;
    said.set_item("policy", policy_said)?;
    let deadlines: Vec<_> = described.deadlines.iter().map(|at| deadline(py, at)).collect::<PyResult<_>>()?;
    said.set_item("deadlines", deadlines)?;
    said.set_item("active", described.active)?;
    said.set_item("last_active_at", seconds(described.last_active_at))?;
    said.set_item("end", described.end.as_ref().map(|end| self::end(py, end)).transpose()?)?;
    said.set_item("main_end", described.main_end.as_ref().map(|end| main_end(py, end)).transpose()?)?;
    said.set_item("words", ebbtide::why(described))?;
    Ok(said)
}

fn ownership<'py>(py: Python<'py>, ownership: &Ownership) -> Dict<'py> {
    let Ownership { kind, holder, since, until, reason } = ownership;
    let said = PyDict::new(py);
    said.set_item("kind", kind.as_str())?;
    said.set_item("holder", holder.as_ref().map(|holder| self::holder(py, holder)).transpose()?)?;
    said.set_item("since", seconds(*since))?;
    said.set_item("until", seconds(*until))?;
    said.set_item("reason", reason)?;
    Ok(said)
}

fn holder<'py>(py: Python<'py>, holder: &Holder) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("lease_id", &holder.lease_id)?;
    said.set_item("pid", holder.process.map(|process| process.pid))?;
    said.set_item("label", &holder.label)?;
    said.set_item("mine", holder.mine)?;
    Ok(said)
}

fn deadline<'py>(py: Python<'py>, deadline: &Deadline) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("kind", deadline.kind.as_str())?;
    said.set_item("at", timestamp(deadline.at))?;
    said.set_item("then", &deadline.then)?;
    Ok(said)
}

fn end<'py>(py: Python<'py>, end: &End) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("reason", &end.reason)?;
    said.set_item("by", &end.by)?;
    said.set_item("message", &end.message)?;
    said.set_item("ended_at", seconds(end.ended_at))?;
    said.set_item("exit_code", end.exit_code)?;
    said.set_item("receipt", end.receipt.as_ref().map(|receipt| self::receipt(py, receipt)).transpose()?)?;
    Ok(said)
}

fn main_end<'py>(py: Python<'py>, end: &MainEnd) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("reason", &end.reason)?;
    said.set_item("exit_code", end.exit_code)?;
    said.set_item("at", seconds(end.at))?;
    said.set_item("files_until", seconds(end.files_until))?;
    Ok(said)
}

/// What an end released.
pub(crate) fn receipt<'py>(py: Python<'py>, receipt: &Receipt) -> Dict<'py> {
    let said = PyDict::new(py);
    said.set_item("released", receipt.released.clone())?;
    said.set_item("bytes", receipt.bytes)?;
    let steps: Vec<_> = receipt.steps.iter().map(|(name, took)| (name, took.as_secs_f64())).collect();
    said.set_item("steps", steps)?;
    said.set_item("took_seconds", receipt.took.as_secs_f64())?;
    let left: Vec<_> = receipt.left.iter().map(|left| (&left.kind, &left.name)).collect();
    said.set_item("left", left)?;
    Ok(said)
}

fn seconds(at: Option<SystemTime>) -> Option<f64> {
    at.map(timestamp)
}
