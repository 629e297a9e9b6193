//! What a daemon must not keep of whoever started it.
//!
//! The launcher and every sandbox inherit from the daemon, so a limit of the shell that happened to make the first
//! call would hold for the sandboxes of all later ones.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid, umask};

use super::DaemonError;

/// As many as a busy daemon and its sandboxes may have open; more if the system already allows more.
const OPEN_FILES: u64 = 65_536;

/// Makes the process its own master. Must come before it has a second thread or has opened anything.
pub(crate) fn shed(detached: bool) -> Result<(), DaemonError> {
    if detached {
        ebbtide_linux::close_inherited_descriptors()
            .map_err(|error| DaemonError::io("let go of inherited descriptors", error))?;
        // In the foreground what is ignored stays so, as `nohup` wants it.
        ebbtide_linux::heed_inherited_signals();
        // Fails only for the leader of a process group, which one who was just started is not.
        let _ = setsid();
    }
    ebbtide_linux::unblock_inherited_signals();
    // What is made for sandboxes must be searchable by their users; what is private lies in private directories.
    umask(Mode::from_raw_mode(0o022));
    for resource in [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::As,
        Resource::Rss,
        Resource::Nproc,
        Resource::Locks,
    ] {
        lift(resource, None);
    }
    lift(Resource::Nofile, Some(OPEN_FILES));
    Ok(())
}

/// Lifts a limit to `wanted`, `None` for no limit, or as far as we may: a root without CAP_SYS_RESOURCE may raise
/// the soft limit to the hard one only.
fn lift(resource: Resource, wanted: Option<u64>) {
    let maximum = getrlimit(resource).maximum;
    let wanted = wanted.and_then(|wanted| maximum.map(|maximum| maximum.max(wanted)));
    if setrlimit(resource, Rlimit { current: wanted, maximum: wanted }).is_err() {
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}
