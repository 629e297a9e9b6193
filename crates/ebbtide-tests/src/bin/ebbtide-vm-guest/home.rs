//! A home at a place that outlives the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebbtide_tests::kernel::{Mark, Snapshot};
use ebbtide_tests::{Ebb, command, eventually, holds_within};
use rustix::process::Signal;
use serde_json::Value;

use crate::LIMIT;

/// How long the kernel may take to take apart what has been let go of.
const SETTLE: Duration = Duration::from_secs(30);

/// A home on the disk that outlives the machine.
#[derive(Clone)]
pub(crate) struct Home {
    state_dir: PathBuf,
    binary: PathBuf,
}

impl Home {
    /// The home of this name, made by whoever uses it first.
    pub(crate) fn at(name: &str) -> Self {
        Self { state_dir: Path::new("/state").join(name), binary: command::binary() }
    }

    /// The same home with the `ebb` that has fail points.
    pub(crate) fn with_fail_points(mut self) -> Self {
        self.binary = command::binary_with_fail_points();
        self
    }

    /// Where its state is.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The `ebb` that is run.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// `ebb` with these arguments.
    pub(crate) fn ebb<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ebb {
        Ebb::new(&self.binary, args).env("EBBTIDE_HOME", &self.state_dir).limit(LIMIT)
    }

    /// Waits until its daemon answers: the first call of all takes longer than a caller waits, on so slow a machine.
    pub(crate) fn wake(&self) {
        eventually("the daemon answers", LIMIT, || (self.ebb(["list"]).run().code() == 0).then_some(()));
    }

    /// Makes a sandbox with these arguments of `ebb create`; returns its id.
    pub(crate) fn create(&self, args: &[&str]) -> String {
        let made = self.ebb(["create", "--json"].into_iter().chain(args.iter().copied())).run().json();
        made["id"].as_str().expect("the id of a sandbox").to_owned()
    }

    /// What `ebb get` says.
    pub(crate) fn get(&self, id: &str) -> Value {
        self.ebb(["get", id, "--json"]).run().json()
    }

    /// What `ebb list --all` says.
    pub(crate) fn list(&self) -> Vec<Value> {
        let listed = self.ebb(["list", "--all", "--json"]).run().json();
        listed["sandboxes"].as_array().expect("a list of sandboxes").clone()
    }

    /// Waits until what `ebb get` says of it is as wanted.
    pub(crate) fn until(&self, what: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually(&format!("{what}: {id}"), LIMIT, || {
            last = self.get(id);
            wanted(&last).then(|| last.clone())
        })
    }

    /// The daemon finds that nothing is left behind.
    pub(crate) fn doctor(&self) {
        let _ = self.ebb(["doctor"]).run().exited(0);
    }

    /// Kills the daemon.
    pub(crate) fn kill_daemon(&self) {
        let pid: u32 = fs::read_to_string(self.state_dir.join("daemon.lock"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .expect("the number of the daemon");
        command::kill(pid, Signal::KILL);
        let gone = holds_within(LIMIT, || !ebbtide_tests::home::is_alive(pid));
        assert!(gone, "the daemon lives on");
    }

    /// Shuts it down, and asks the kernel whether anything of it is left.
    pub(crate) fn shut_down(&self, before: &Snapshot) {
        let _ = self.ebb(["shutdown"]).run().exited(0);
        let id = fs::read_to_string(self.state_dir.join("id")).expect("the id of the home").trim().to_owned();
        let marks = [Mark { id, state_dir: self.state_dir.clone() }];
        let mut left = Vec::new();
        let clean = holds_within(SETTLE, || {
            left = Snapshot::diff(before, &Snapshot::take(), &marks);
            left.is_empty()
        });
        assert!(clean, "left behind:\n  {}", left.join("\n  "));
    }
}

/// A text of a sandbox as `--json` shows it; empty where there is none.
pub(crate) fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}
