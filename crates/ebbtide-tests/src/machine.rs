//! The machine as a test takes it and has to hand it back.

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::command::kill;
use crate::descendants;
use crate::home::TestHome;
use crate::kernel::{Mark, Snapshot};
use crate::wait::holds_within;

/// Holds off every other test of this kind, on this machine.
const LOCK: &str = "ebbtide-end-to-end.lock";
/// How long the kernel may take to take apart what has been let go of.
const SETTLE: Duration = Duration::from_secs(10);

/// The whole machine, for one test at a time. Drop it last: it then looks for what is left.
#[derive(Debug)]
pub struct Machine {
    before: Snapshot,
    marks: Arc<Mutex<Vec<Mark>>>,
    _lock: File,
}

impl Machine {
    /// Waits for its turn and notes what is there.
    ///
    /// # Panics
    /// When the caller is not root: sandboxes cannot be made then.
    pub fn take() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the end-to-end tests make sandboxes, as root");
        let path = std::env::temp_dir().join(LOCK);
        let lock = File::options().create(true).append(true).open(path).expect("open the lock of the tests");
        // Bounded by the runner's limit on each test before this one.
        flock(&lock, FlockOperation::LockExclusive).expect("take the lock of the tests");
        descendants::adopt_all();
        Self { before: Snapshot::take(), marks: Arc::default(), _lock: lock }
    }

    /// A new home.
    pub fn home(&self) -> TestHome {
        TestHome::new(Arc::clone(&self.marks))
    }

    /// What is there of this test's homes, and was not before.
    pub fn left(&self) -> Vec<String> {
        Snapshot::diff(&self.before, &Snapshot::take(), &self.marks())
    }

    /// Panics if anything of this test's homes is still there.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        let clean = holds_within(SETTLE, || {
            left = self.left();
            left.is_empty()
        });
        assert!(clean, "left behind:\n  {}", left.join("\n  "));
    }

    fn marks(&self) -> Vec<Mark> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes by force what a failed test has left, so that what comes next starts clean.
    pub fn clear(&self) {
        let mut found = Vec::new();
        holds_within(SETTLE, || {
            let living = descendants::living();
            for pid in living.keys() {
                kill(*pid, Signal::KILL);
            }
            living.is_empty()
        });
        for mark in self.marks().iter().filter(|mark| !mark.id.is_empty()) {
            let _ = fs::remove_dir_all(Path::new("/run/ebbtide").join(&mark.id));
            for claim in fs::read_dir("/run/ebbtide/ids").into_iter().flatten().flatten() {
                if fs::read_to_string(claim.path()).is_ok_and(|content| content.contains(&mark.id)) {
                    let _ = fs::remove_file(claim.path());
                }
            }
            found.extend(self.left().into_iter().filter_map(|line| {
                line.strip_prefix("cgroup ").filter(|path| path.contains(&mark.id)).map(str::to_owned)
            }));
        }
        // The longest paths first: children before their parents.
        found.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for path in found {
            let _ = fs::remove_dir(path);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut left = Vec::new();
        let clean = holds_within(SETTLE, || {
            left = self.left();
            left.is_empty()
        });
        if !clean {
            self.clear();
            let text = format!("left behind:\n  {}", left.join("\n  "));
            if std::thread::panicking() {
                eprintln!("{text}");
            } else {
                panic!("{text}");
            }
        }
    }
}
