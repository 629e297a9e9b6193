//! Starting a launcher: the daemon binds the socket, the launcher inherits it, so that nobody waits for a path.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::LinuxConfig;

/// Starts a launcher that listens at the home's launcher socket. It outlives this process.
pub(super) fn start_launcher(config: &LinuxConfig) -> io::Result<()> {
    let path = config.run_dir.join("launcher.sock");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket: OwnedFd =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    listen(&socket, 64)?;
    let log = File::options().create(true).append(true).open(config.state_dir.join("launcher.log"))?;
    let mut child = Command::new(&config.launcher_exe)
        .arg("internal-launcher")
        .args(config.arguments().to_args())
        .env_clear()
        .current_dir("/")
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    // Nothing waits for it but this thread, which takes its exit status from the kernel.
    std::thread::Builder::new()
        .name("launcher-reaper".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || child.wait())?;
    Ok(())
}
