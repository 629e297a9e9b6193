//! A home of its own for a test.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde_json::Value;

use crate::command::{self, Ebb};
use crate::disk::Disk;
use crate::kernel::Mark;
use crate::started::Started;

/// How long a shutdown may take, with any number of sandboxes.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);

/// A home in a temporary directory, shut down at the end of the test.
#[derive(Debug)]
pub struct TestHome {
    // Unmounted before the directory is removed.
    disk: Option<Disk>,
    directory: tempfile::TempDir,
    below: String,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    marks: Arc<Mutex<Vec<Mark>>>,
    id: Mutex<Option<String>>,
}

impl TestHome {
    pub(crate) fn new(marks: Arc<Mutex<Vec<Mark>>>) -> Self {
        let directory = tempfile::Builder::new().prefix("ebb-e2e-").tempdir().expect("a directory");
        marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Mark { id: String::new(), state_dir: directory.path().to_owned() });
        Self {
            disk: None,
            directory,
            below: "home".to_owned(),
            binary: command::binary(),
            environment: Vec::new(),
            marks,
            id: Mutex::new(None),
        }
    }

    /// The same home with another `ebb`.
    #[must_use]
    pub fn with_binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// The same home, each command with a variable more.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same home with its state at another place below its directory.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        self.below = path.to_owned();
        self
    }

    /// The same home with its state on a disk of its own, which can be filled.
    ///
    /// # Panics
    /// When the machine has no loop devices.
    #[must_use]
    pub fn on_disk(mut self, bytes: u64) -> Self {
        self.disk = Some(Disk::mount(&self.directory.path().join("disk"), bytes));
        self.below("disk/home")
    }

    /// The disk of its own, if it has one.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// A directory of the test's own, in which the home is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join(&self.below)
    }

    /// The `ebb` that is run.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A copy of the `ebb` that every user can execute.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn copy_for_everybody(&self) -> PublicCopy {
        let name = format!("ebb-e2e-{}", std::process::id());
        let path = std::env::temp_dir().join(name).to_str().expect("a path in UTF-8").to_owned();
        fs::copy(&self.binary, &path).expect("copy ebb");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("open it to everybody");
        PublicCopy(path)
    }

    /// The id of the home; `None` until something has opened it.
    pub fn id(&self) -> Option<String> {
        let mut known = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let id = fs::read_to_string(self.state_dir().join("id")).ok()?.trim().to_owned();
            let mark = Mark { id: id.clone(), state_dir: self.directory.path().to_owned() };
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
            *known = Some(id);
        }
        known.clone()
    }

    /// The run directory.
    ///
    /// # Panics
    /// When nothing has opened the home yet.
    pub fn run_dir(&self) -> PathBuf {
        Path::new("/run/ebbtide").join(self.id().expect("the home has an id"))
    }

    /// The run directory; `None` until something has opened the home.
    pub fn run_dir_if_any(&self) -> Option<PathBuf> {
        Some(Path::new("/run/ebbtide").join(self.id()?))
    }

    /// Writes the daemon's configuration; it holds for the next daemon.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, text: &str) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(self.state_dir());
        made.expect("make the state directory");
        fs::write(self.state_dir().join("ebbtide.toml"), text).expect("write the configuration");
    }

    /// `ebb` with these arguments, in this home.
    pub fn ebb<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ebb {
        let mut ebb = Ebb::new(&self.binary, args).env("EBBTIDE_HOME", self.state_dir());
        for (name, value) in &self.environment {
            ebb = ebb.env(name, value);
        }
        ebb
    }

    /// `ebb run -- sh -c SCRIPT`.
    pub fn sh(&self, script: &str) -> Ebb {
        self.ebb(["run", "--", "sh", "-c", script])
    }

    /// Makes a sandbox that idles, with these further arguments of `ebb create`; returns its id.
    pub fn create(&self, args: &[&str]) -> String {
        let args = ["create", "--json"].into_iter().chain(args.iter().copied());
        let answer = self.ebb(args).run().json();
        id_of(&answer).unwrap_or_else(|| panic!("no id in {answer}"))
    }

    /// `ebb exec ID -- sh -c SCRIPT`.
    pub fn exec(&self, id: &str, script: &str) -> Ebb {
        self.ebb(["exec", id, "--", "sh", "-c", script])
    }

    /// What `ebb get` says.
    pub fn get(&self, id: &str) -> Value {
        self.ebb(["get", id, "--json"]).run().json()
    }

    /// The state that `ebb get` shows.
    pub fn state(&self, id: &str) -> String {
        let sandbox = self.get(id);
        sandbox["state"].as_str().unwrap_or_else(|| panic!("no state in {sandbox}")).to_lowercase()
    }

    /// The daemon's process id; `None` if none runs.
    pub fn daemon(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.state_dir().join("daemon.lock")).ok()?.trim().parse().ok()?;
        // A daemon that was killed has left its number in the file, and another process may have it by now.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (is_alive(pid) && line.split('\0').nth(1) == Some("serve")).then_some(pid)
    }

    /// Kills the daemon, as `kill -9` would, and waits until it is gone.
    ///
    /// # Panics
    /// When none runs.
    pub fn kill_daemon(&self) {
        let pid = self.daemon().expect("a daemon runs");
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return };
        command::kill(pid, Signal::KILL);
        // By its descriptor: one that counts as dead may have threads that still hold the home's lock.
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
        assert_eq!(ended, Ok(1), "the daemon lives on");
    }

    /// Kills every launcher and waits until they are gone.
    ///
    /// # Panics
    /// When none runs.
    pub fn kill_launcher(&self) {
        let pids = self.processes("ebb-launcher");
        assert!(!pids.is_empty(), "no launcher runs");
        for pid in &pids {
            command::kill(*pid, Signal::KILL);
        }
        let gone = crate::holds_within(Duration::from_secs(10), || !pids.iter().any(|pid| is_alive(*pid)));
        assert!(gone, "the launcher lives on");
    }

    /// How many sandboxes are not terminal.
    ///
    /// # Panics
    /// When the listing fails.
    pub fn live(&self) -> usize {
        let list = self.ebb(["list", "--json"]).run().json();
        list["sandboxes"].as_array().expect("a list").len()
    }

    /// The processes of this home with this name (`ebb-launcher`, `ebb-init`).
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let Some(id) = self.id() else { return Vec::new() };
        let mut pids: Vec<u32> = fs::read_dir("/proc")
            .expect("list the processes")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let ours = read("comm").trim() == name && read("cmdline").contains(&id);
                // What an init has cloned is called as it is until it executes its command.
                let cloned = || {
                    !read("status").lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
                };
                ours && (name != "ebb-init" || !cloned()) && is_alive(*pid)
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// The init of a sandbox.
    ///
    /// # Panics
    /// When there is none.
    pub fn init_of(&self, sandbox: &str) -> u32 {
        self.init_of_if_any(sandbox).unwrap_or_else(|| panic!("sandbox {sandbox} has no init"))
    }

    /// The init of a sandbox; `None` if it has gone.
    pub fn init_of_if_any(&self, sandbox: &str) -> Option<u32> {
        let directory = self.run_dir_if_any()?.join("s").join(sandbox);
        let json = fs::read_to_string(directory.join("slot.json")).ok()?;
        let at = json.find("slot-")?;
        let group = format!("/ebbtide/{}/{}", self.id()?, json.get(at..at + 13)?);
        let inits = self.processes("ebb-init");
        let mut of_slot = inits.into_iter().filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default().contains(&group)
        });
        of_slot.next()
    }

    /// Shuts the home down: daemon, sandboxes, launcher.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn shutdown(&self) {
        let _ = self.ebb(["shutdown"]).limit(SHUTDOWN_LIMIT).run().exited(0);
    }
}

/// An executable that is removed when it is dropped.
#[derive(Debug)]
pub struct PublicCopy(String);

impl PublicCopy {
    /// Where it is.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a process runs; one that has ended and is not reaped does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn id_of(answer: &Value) -> Option<String> {
    let id = answer.get("id").or_else(|| answer.get("sandbox_id"))?;
    Some(id.as_str()?.to_owned())
}

impl Drop for TestHome {
    fn drop(&mut self) {
        // So that its mark is known also where only the daemon has seen the id.
        self.id();
        if std::thread::panicking() {
            // The machine cleans up by force; a second panic would hide the first.
            let mut shutdown = Command::new(&self.binary);
            shutdown.arg("shutdown").env("EBBTIDE_HOME", self.state_dir());
            if let Ok(mut shutdown) = Started::try_new(shutdown.stdout(Stdio::null()).stderr(Stdio::null())) {
                crate::holds_within(Duration::from_secs(20), || shutdown.ended().is_some());
            }
        } else if self.state_dir().exists() {
            self.shutdown();
        }
    }
}
