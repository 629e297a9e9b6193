//! Starts the other programs and takes their time, in a small process of its own.
//!
//! It is small and has one thread so that a start costs what it costs, not what copying a large parent costs. And
//! it has a mount namespace of its own, in which the empty cgroup v2 tree of a hybrid host is unmounted: crun
//! refuses to work beside that tree, and the daemon cannot work without it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The argument that makes this program the helper.
pub(crate) const ROLE: &str = "helper";

#[derive(Serialize, Deserialize)]
struct Answer {
    nanoseconds: u64,
    status: i32,
    stderr: String,
}

/// The helper, as the measuring process sees it.
pub(crate) struct Helper {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts it in a mount namespace of its own.
    pub(crate) fn start() -> Result<Self, Error> {
        Self::start_with(|_| {})
    }

    /// As [`Helper::start`], with further arguments and an environment: the helper becomes the program that the
    /// arguments name, which answers as it would.
    pub(crate) fn start_with(prepare: impl FnOnce(&mut Command)) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]).arg(program).args([ROLE, "--"]);
        prepare(&mut command);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the measuring process, which then cleans up with the help of this one.
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting the helper"))?;
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or(Error::HelperGone)?);
        Ok(Self { process, requests, answers })
    }

    /// Runs a command to its end and returns how long that took. It must succeed.
    pub(crate) fn time(&mut self, command: &[String]) -> Result<Duration, Error> {
        let answer = self.ask(command)?;
        if answer.status != 0 {
            let (command, status, stderr) = (command.join(" "), answer.status, answer.stderr);
            return Err(Error::Peer { command, status, stderr });
        }
        Ok(Duration::from_nanos(answer.nanoseconds))
    }

    fn ask(&mut self, command: &[String]) -> Result<Answer, Error> {
        let requests = self.requests.as_mut().ok_or(Error::HelperGone)?;
        let request = serde_json::to_string(command).map_err(|_| Error::HelperGone)?;
        writeln!(requests, "{request}").map_err(Error::io("asking the helper"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Error::io("hearing the helper"))?;
        serde_json::from_str(&line).map_err(|_| Error::HelperGone)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // End of file ends it.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

/// What the helper does: becomes `program` if there is one, else serves.
pub(crate) fn run(program: &[OsString]) -> Result<(), Error> {
    match unmount("/sys/fs/cgroup/unified", UnmountFlags::DETACH) {
        // Not there, or not a mount: a host with pure cgroup v2.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(Error::io("unmounting /sys/fs/cgroup/unified")(error.into())),
    }
    match program.split_first() {
        // Comes back only if it fails.
        Some((name, arguments)) => {
            let error = Command::new(name).args(arguments).exec();
            Err(Error::io(format!("starting {}", name.display()))(error))
        }
        None => serve(),
    }
}

/// For each line a command, started with nothing but a path, and its time.
fn serve() -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::io("reading a request"))?;
        let argv: Vec<String> =
            serde_json::from_str(&line).map_err(|error| Error::Unexpected(format!("a request ({error})")))?;
        let answer = serde_json::to_string(&time(&argv)).map_err(|_| Error::HelperGone)?;
        writeln!(stdout, "{answer}").map_err(Error::io("writing an answer"))?;
    }
    Ok(())
}

fn time(argv: &[String]) -> Answer {
    let Some((program, arguments)) = argv.split_first() else {
        return Answer { nanoseconds: 0, status: -1, stderr: "an empty command".into() };
    };
    // A file, not a pipe: a container that goes on in the background would hold a pipe open.
    let stderr = tempfile::tempfile();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(
        stderr.as_ref().ok().and_then(|file| file.try_clone().ok()).map_or_else(Stdio::null, Into::into),
    );
    let started = Instant::now();
    let status = command.spawn().and_then(|mut child| child.wait());
    let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    match status {
        Ok(status) if status.success() => Answer { nanoseconds, status: 0, stderr: String::new() },
        Ok(status) => Answer { nanoseconds, status: status.code().unwrap_or(-1), stderr: text(stderr) },
        Err(error) => Answer { nanoseconds, status: -1, stderr: error.to_string() },
    }
}

fn text(file: std::io::Result<std::fs::File>) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    if let Ok(mut file) = file {
        // Best effort: the text only explains a failure that is reported anyway.
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    }
    text.trim().to_owned()
}
