//! One start of the virtual machine, from the kernel to the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::guest::{Guest, Kernel};
use crate::{Error, process};

/// How long one machine may take. Software emulation is some twenty times slower than the processor.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// Everything that software emulation can do but one instruction: qemu 7.2 gets `cmpxchg16b` wrong, which newer kernels
/// use in their memory allocator where the processor has it.
const PROCESSOR: &str = "max,-cx16";

/// What came of one start.
pub(crate) struct Run {
    /// The kernel's version, as it says itself.
    pub(crate) kernel: String,
    /// Everything that the script wrote.
    pub(crate) output: String,
    /// From start to power off.
    pub(crate) took: Duration,
}

impl Run {
    /// Whether the script ran to its end and the checks passed.
    pub(crate) fn passed(&self) -> bool {
        self.output.lines().any(|line| line == "result 0")
    }
}

/// Starts the machine and waits until it is off. What it writes to its disks is forgotten.
pub(crate) fn run(directory: &Path, guest: &Guest, kernel: &Kernel, payload: &Path) -> Result<Run, Error> {
    let console = directory.join(format!("{}.console.log", kernel.version));
    let output = directory.join(format!("{}.output.log", kernel.version));
    let started = Instant::now();
    eprintln!("starting Linux {}; its console goes to {}", kernel.version, console.display());
    let mut command = process::command(
        "qemu-system-x86_64",
        [
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            PROCESSOR,
            "-smp",
            "2",
            "-m",
            "3072",
            "-nodefaults",
            "-no-reboot",
        ],
    );
    command.args([
        "-display",
        "none",
        "-append",
        "root=/dev/vda rw console=ttyS0 panic=-1 systemd.show_status=0",
    ]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&kernel.initrd);
    command.arg("-serial").arg(file("file:", &console)).arg("-serial").arg(file("file:", &output));
    for disk in [&guest.disk, payload] {
        command.arg("-drive").arg(file("if=virtio,format=raw,snapshot=on,file=", disk));
    }
    command.stdin(Stdio::null()).env("TMPDIR", directory);
    let machine = command.spawn().map_err(|source| process::spawn_failed(&command, source))?;
    if !ended_within(machine, LIMIT) {
        return Err(Error::VmTimeout { kernel: kernel.version.clone(), limit: LIMIT, console });
    }
    let bytes = fs::read(&output).map_err(Error::file("could not read", &output))?;
    let output = String::from_utf8_lossy(&bytes).replace('\r', "");
    print!("{output}");
    Ok(Run { kernel: kernel.version.clone(), output, took: started.elapsed() })
}

/// Waits for the machine; kills it when the time is over.
fn ended_within(mut machine: Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match machine.try_wait() {
            Ok(None) => sleep(Duration::from_millis(200)),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    // Both fail only if it has just ended by itself.
    let _ = machine.kill();
    let _ = machine.wait();
    false
}

fn file(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(prefix);
    text.push(PathBuf::from(path));
    text
}
