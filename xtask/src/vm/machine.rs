//! One virtual machine, from the kernel to its end, by whatever cause; and the lines that it writes meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{Guest, Kernel};
use crate::{Error, process};

/// How long one machine may take. Software emulation is some twenty times slower than the processor.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// Everything that software emulation can do but one instruction: qemu 7.2 gets `cmpxchg16b` wrong, which newer kernels
/// use in their memory allocator where the processor has it.
const PROCESSOR: &str = "max,-cx16";

/// Software emulation, and no HPET: where there is one it stands in for the clock whose alarm wakes the machine, and it
/// sleeps with the machine.
const MACHINE: &str = "q35,accel=tcg,hpet=off";

/// What machines are made of.
pub(crate) struct Parts<'a> {
    /// Where their consoles are written down.
    pub(crate) directory: &'a Path,
    /// The system.
    pub(crate) guest: &'a Guest,
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// The disk with what is run inside.
    pub(crate) payload: &'a Path,
}

/// A line that a machine wrote, and when it came.
pub(crate) struct Line {
    /// Without its end.
    pub(crate) text: String,
    /// When it had been read here.
    pub(crate) came: Instant,
}

/// A machine that runs; killed when it is dropped.
pub(crate) struct Machine {
    process: Child,
    lines: Receiver<Line>,
    seen: Vec<Line>,
    deadline: Instant,
    kernel: String,
    console: PathBuf,
    monitor: PathBuf,
}

impl Machine {
    /// Starts one for `scenario`. What it writes to its disks is forgotten, but for those on `state`.
    pub(crate) fn start(parts: &Parts<'_>, scenario: &str, state: Option<&Path>) -> Result<Self, Error> {
        let version = &parts.kernel.version;
        let console = parts.directory.join(format!("{version}.{}.console.log", scenario.replace(',', "-")));
        eprintln!("starting Linux {version} for {scenario}; its console goes to {}", console.display());
        // The clock that the kernel would take instead reads all ones after a sleep here, so that time would stand still.
        let append = format!(
            "root=/dev/vda rw console=ttyS0 panic=-1 tsc=reliable systemd.show_status=0 ebbtide.run={scenario}"
        );
        let mut command = process::command("qemu-system-x86_64", ["-nodefaults", "-display", "none"]);
        command.args(["-machine", MACHINE, "-cpu", PROCESSOR, "-smp", "2", "-m", "3072"]);
        command.args(["-append", &append]);
        let monitor = parts.directory.join("monitor.sock");
        let mut serve = file("unix:", &monitor);
        serve.push(",server=on,wait=off");
        command.arg("-monitor").arg(serve);
        command.arg("-kernel").arg(&parts.kernel.image).arg("-initrd").arg(&parts.kernel.initrd);
        command.arg("-serial").arg(file("file:", &console)).args(["-serial", "stdio"]);
        for disk in [&parts.guest.disk, parts.payload] {
            command.arg("-drive").arg(file("if=virtio,format=raw,snapshot=on,file=", disk));
        }
        if let Some(state) = state {
            // What the guest has handed to its disk survives this program's death, what it still had in memory does not.
            command.arg("-drive").arg(file("if=virtio,format=raw,cache=writeback,file=", state));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env("TMPDIR", parts.directory);
        let mut process = command.spawn().map_err(|source| process::spawn_failed(&command, source))?;
        let (sender, lines) = channel();
        let output = process.stdout.take();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n')) {
                let Ok(line) = line else { break };
                let text = String::from_utf8_lossy(&line).replace('\r', "");
                println!("{text}");
                if sender.send(Line { text, came: Instant::now() }).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + LIMIT;
        Ok(Self { process, lines, seen: Vec::new(), deadline, kernel: version.clone(), console, monitor })
    }

    /// Reads until it writes a line that begins with `word`. `false` if it has ended without.
    pub(crate) fn until(&mut self, word: &str) -> Result<bool, Error> {
        self.read(self.deadline, |line| line.starts_with(word))
    }

    /// Reads for this long. `false` if it has ended meanwhile.
    pub(crate) fn watch(&mut self, time: Duration) -> Result<bool, Error> {
        let until = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Reads what comes next, for this long at most. `false` if nothing has.
    pub(crate) fn next(&mut self, limit: Duration) -> bool {
        let line = self.lines.recv_timeout(limit);
        line.map(|line| self.seen.push(line)).is_ok()
    }

    /// Wakes it from its sleep, as its power button would.
    pub(crate) fn wake(&self) -> Result<(), Error> {
        let failed = |source| Error::File { what: "could not write to", path: self.monitor.clone(), source };
        let mut monitor = UnixStream::connect(&self.monitor).map_err(failed)?;
        monitor.write_all(b"system_wakeup\n").map_err(failed)
    }

    /// Reads until it is off; returns all that it wrote.
    pub(crate) fn finish(mut self) -> Result<Vec<Line>, Error> {
        self.read(self.deadline, |_| false)?;
        Ok(std::mem::take(&mut self.seen))
    }

    /// Ends it as a cut of the power would; returns all that it wrote, and when that was.
    pub(crate) fn cut(mut self) -> Result<(Vec<Line>, Instant), Error> {
        // Fails only if it has just ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let cut = Instant::now();
        self.read(self.deadline, |_| false)?;
        Ok((std::mem::take(&mut self.seen), cut))
    }

    fn read(&mut self, until: Instant, wanted: impl Fn(&str) -> bool) -> Result<bool, Error> {
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line.text);
                    self.seen.push(line);
                    if found {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    let (kernel, console) = (self.kernel.clone(), self.console.clone());
                    return Err(Error::VmTimeout { kernel, limit: LIMIT, console });
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn file(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(prefix);
    text.push(path);
    text
}
