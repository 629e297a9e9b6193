//! Starting a daemon so that it owes nothing to the program that started it.
//!
//! It gets a session of its own (it calls `setsid` itself), `/` as its directory, a short list of environment
//! variables, and no descriptor of ours but a pipe on which it says when it is ready. It lets go of that pipe
//! then, so that `x=$(ebb run ...)` does not wait for a daemon that lives on.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout_at};

use crate::connect::timed_out;
use crate::{ConnectOptions, Error, Home, HomeError};

/// What the daemon writes on its standard output once it can be called.
const READY: &[u8] = b"ready\n";
/// How long a daemon that was started on first use stays without work.
const IDLE_EXIT_SECONDS: &str = "60";
const MAX_LOG_BYTES: u64 = 10 << 20;
/// The most bytes of an error text that are read.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// Variables that the daemon gets, besides those that begin with [`INHERITED_PREFIXES`].
const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "RUST_BACKTRACE", "SHELL"];
const INHERITED_PREFIXES: [&str; 3] = ["EBBTIDE_", "LC_", "XDG_"];
/// Variables of ours that a daemon does not get.
const WITHHELD: [&str; 5] = [
    "EBBTIDE_URL",
    "EBBTIDE_API_KEY",
    "EBBTIDE_ORGANIZATION",
    crate::keep::VARIABLE,
    crate::lease::HEARTBEAT_VARIABLE,
];

/// Held by the one who starts a daemon.
#[derive(Debug)]
pub(crate) struct StartLock {
    _file: File,
}

impl StartLock {
    /// Takes the lock; `None` while somebody else holds it.
    pub(crate) fn try_take(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.start_lock();
        let failed = |step, source: io::Error| Error::Home(HomeError::io(step, &home.start_lock(), source));
        // A shutdown may have removed the directory since the home was opened.
        home.ensure_run_dir()?;
        let open = File::options().create(true).append(true).mode(0o600).open(&path);
        let file = match open {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            Err(error) => return Err(failed("lock", error.into())),
        }
        // A lock on a file that was removed meanwhile excludes nobody.
        let held = file.metadata().map_err(|error| failed("look at", error))?;
        let same = std::fs::metadata(&path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
        Ok(same.then_some(Self { _file: file }))
    }
}

/// Starts a daemon and waits until it can be called.
pub(crate) async fn start_daemon(
    home: &Home,
    options: &ConnectOptions,
    deadline: Instant,
) -> Result<(), Error> {
    let executable = match &options.executable {
        Some(executable) => executable.clone(),
        None => find_executable().ok_or(Error::NoExecutable)?,
    };
    let failed = |said: String| Error::StartFailed { said, log: home.daemon_log() };
    let log = open_log(home)?;
    let mut child = Command::new(&executable)
        .args(["serve", "--detached", "--idle-exit", IDLE_EXIT_SECONDS])
        .env_clear()
        .envs(environment(std::env::vars_os()))
        .env("EBBTIDE_HOME", home.state_dir())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| failed(format!("cannot run {}: {error}", executable.display())))?;
    let stdout = child.stdout.take().map(OwnedFd::from);
    // It outlives this call by far; without somebody to wait for it, it would stay behind as a zombie. A
    // program that ends first leaves it to the system's process 1.
    std::thread::spawn(move || child.wait());
    let Some(stdout) = stdout else { return Err(failed("its standard output is not a pipe".to_owned())) };
    let mut stdout = pipe::Receiver::from_owned_fd(stdout).map_err(|error| failed(error.to_string()))?;
    let mut said = Vec::new();
    let reading = async {
        while said != READY && said.len() < MAX_ERROR_BYTES && stdout.read_buf(&mut said).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    match timeout_at(deadline, reading).await {
        Err(_) => Err(timed_out(home, options)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(())) if said == READY => Ok(()),
        Ok(Ok(())) => {
            let text = String::from_utf8_lossy(&said);
            let text = text.trim();
            Err(failed(if text.is_empty() { "it ended without a word".to_owned() } else { text.to_owned() }))
        }
    }
}

fn open_log(home: &Home) -> Result<File, Error> {
    let path = home.daemon_log();
    let failed = |source| Error::Home(HomeError::io("open", &home.daemon_log(), source));
    let log = File::options().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    if log.metadata().map_err(failed)?.len() > MAX_LOG_BYTES {
        log.set_len(0).map_err(failed)?;
    }
    Ok(log)
}

fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let allowed = |name: &OsStr| {
        // What concerns another daemon, and a key that whoever happens to be first would bring.
        if WITHHELD.iter().any(|withheld| name == *withheld) {
            return false;
        }
        INHERITED.iter().any(|allowed| name == *allowed)
            || INHERITED_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
    };
    variables.filter(|(name, _)| allowed(name)).collect()
}

fn find_executable() -> Option<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("ebb"));
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("ebb")).find(|file| is_executable(file))
    };
    std::env::var_os("EBBTIDE_BIN")
        .map(PathBuf::from)
        .filter(|file| is_executable(file))
        .or_else(|| beside().filter(|file| is_executable(file)))
        .or_else(in_path)
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::HomeLocation;

    use super::*;

    fn home(dir: &Path) -> Home {
        HomeLocation::new(dir.join("home"), dir.join("run")).open().unwrap()
    }

    /// An executable that stands in for `ebb`.
    fn program(dir: &Path, script: &str) -> ConnectOptions {
        let path = dir.join("ebb");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        ConnectOptions { executable: Some(path), timeout: Duration::from_secs(5), ..Default::default() }
    }

    /// A script cannot be executed while a process that another test has just forked still has it open.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    async fn start(script: &str) -> Result<(), Error> {
        let _turn = ONE_AT_A_TIME.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let options = program(dir.path(), script);
        start_daemon(&home(dir.path()), &options, Instant::now() + Duration::from_millis(800)).await
    }

    #[tokio::test]
    async fn a_daemon_is_started_when_it_says_so() {
        start("echo ready; exec >/dev/null").await.unwrap();
    }

    #[tokio::test]
    async fn what_a_failing_daemon_says_is_shown() {
        let error = start("echo the disk is full; exit 125").await.unwrap_err();
        assert!(matches!(error, Error::StartFailed { said, .. } if said == "the disk is full"));
        let error = start("exit 1").await.unwrap_err();
        assert!(matches!(error, Error::StartFailed { said, .. } if said.contains("without a word")));
    }

    #[tokio::test]
    async fn a_daemon_that_says_nothing_is_not_waited_for_without_end() {
        assert!(matches!(start("exec sleep 3").await, Err(Error::TimedOut { .. })));
    }

    #[test]
    fn only_one_holds_the_start_lock_also_after_a_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let first = StartLock::try_take(&home).unwrap();
        assert!(first.is_some());
        assert!(StartLock::try_take(&home).unwrap().is_none());
        drop(first);
        let stale = File::open(home.start_lock()).unwrap();
        home.remove_run_dir().unwrap();
        flock(&stale, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(StartLock::try_take(&home).unwrap().is_some());
    }

    #[test]
    fn secrets_of_the_callers_environment_do_not_reach_the_daemon() {
        let given = [
            "PATH",
            "AWS_SECRET_ACCESS_KEY",
            "EBBTIDE_API_KEY",
            "EBBTIDE_BIN",
            "LC_ALL",
            "HOMEBREW",
            "LD_PRELOAD",
        ];
        let kept = environment(given.iter().map(|name| (OsString::from(name), OsString::new())));
        let kept: Vec<_> = kept.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(kept, ["PATH", "EBBTIDE_BIN", "LC_ALL"]);
    }
}
