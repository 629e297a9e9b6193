//! What a sandbox is to be like, as the Python package says it: a dictionary of what was given.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use ebbtide::{Gpu, ResourceAmounts, Resources, SandboxBuilder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

type Amounts = Option<BTreeMap<String, String>>;

/// What was given; the package has checked that the types are right and merged what is merged.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Spec {
    container_image: Option<String>,
    command: Option<String>,
    args: Option<Vec<String>>,
    tags: Vec<String>,
    environment_variables: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    requests: Amounts,
    limits: Amounts,
    gpu: Option<(u32, Option<String>, Option<u32>)>,
    working_dir: Option<String>,
    mounted_files: Vec<(String, Vec<u8>)>,
    runner_ids: Option<Vec<String>>,
    max_lifetime_seconds: Option<f64>,
    request_timeout_seconds: f64,
    pub(crate) detach: bool,
    orphan_grace_seconds: Option<f64>,
    keep: Option<String>,
    keep_for_seconds: Option<f64>,
    keep_as: Option<String>,
    idle_timeout_seconds: Option<f64>,
    on_idle: Option<String>,
}

impl Spec {
    pub(crate) fn apply(self, mut builder: SandboxBuilder) -> PyResult<SandboxBuilder> {
        builder = builder.tags(self.tags).start_timeout(seconds(self.request_timeout_seconds)?);
        if let Some(image) = self.container_image {
            builder = builder.image(image);
        }
        if let Some(command) = self.command {
            builder = builder.command(command);
        }
        if let Some(args) = self.args {
            builder = builder.args(args);
        }
        for (name, value) in self.environment_variables {
            builder = builder.env(name, value);
        }
        for (key, value) in self.annotations {
            builder = builder.annotation(key, value);
        }
        if self.requests.is_some() || self.limits.is_some() || self.gpu.is_some() {
            let gpu = self.gpu.map(|(count, kind, memory_gb)| Gpu { count, kind, memory_gb });
            builder = builder.resources(Resources {
                requests: amounts(self.requests),
                limits: amounts(self.limits),
                gpu,
            });
        }
        if let Some(dir) = self.working_dir {
            builder = builder.working_dir(dir);
        }
        for (path, content) in self.mounted_files {
            builder = builder.mounted_file(path, content);
        }
        if let Some(ids) = self.runner_ids {
            builder = builder.runner_ids(ids);
        }
        if let Some(lifetime) = self.max_lifetime_seconds {
            builder = builder.max_lifetime(seconds(lifetime)?);
        }
        if let Some(grace) = self.orphan_grace_seconds {
            builder = builder.orphan_grace(seconds(grace)?);
        }
        if let Some(keep) = self.keep {
            builder = builder.keep(word(&keep)?);
        }
        if let Some(length) = self.keep_for_seconds {
            builder = builder.keep_for(seconds(length)?);
        }
        if let Some(kept) = self.keep_as {
            builder = builder.keep_as(word(&kept)?);
        }
        if let Some(timeout) = self.idle_timeout_seconds {
            builder = builder.idle_timeout(seconds(timeout)?);
        }
        if let Some(then) = self.on_idle {
            builder = builder.on_idle(word(&then)?);
        }
        Ok(if self.detach { builder.detach() } else { builder })
    }
}

fn word<T: FromStr<Err: std::fmt::Display>>(text: &str) -> PyResult<T> {
    text.parse().map_err(|refused: T::Err| PyValueError::new_err(refused.to_string()))
}

fn amounts(given: Amounts) -> ResourceAmounts {
    let mut given = given.unwrap_or_default();
    ResourceAmounts { cpu: given.remove("cpu"), memory: given.remove("memory") }
}

/// A time that was given in seconds.
pub(crate) fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{seconds} is no time in seconds")))
}
