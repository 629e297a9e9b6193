//! The host is shut down: the one time at which a SIGTERM is an end.
//!
//! Any other time it may be anybody's, inside or outside, and changes nothing. systemd sends it to every process that is
//! left, from a program of its own in the place of process 1, and waits a minute and a half for those that go on.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use ebbtide_driver::EndCause;

use super::server::Server;

/// What the kernel calls that program, of whose name it keeps 15 characters.
const SHUTDOWN: &[u8] = b"systemd-shutdow";

/// How long the commands have then.
const GRACE: Duration = Duration::from_secs(10);

/// The name of the host's process 1, held open from before the host was out of sight.
pub(crate) struct HostInit(Option<File>);

impl HostInit {
    /// Of the process 1 that the caller sees. Where that has no name, no SIGTERM is ever an end.
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/1/comm").ok())
    }

    pub(super) fn file(&self) -> Option<&File> {
        self.0.as_ref()
    }

    fn shuts_down(&self) -> bool {
        let mut name = [0; SHUTDOWN.len()];
        // From its beginning each time, so that it is the name as it is now.
        self.0.as_ref().is_some_and(|file| file.read_exact_at(&mut name, 0).is_ok() && name == SHUTDOWN)
    }
}

impl Server {
    /// A SIGTERM, whosever it is.
    pub(super) fn terminated(&mut self) {
        if self.host_init.shuts_down() {
            if !self.stopping() {
                self.stop_cause = EndCause::HostShutdown;
            }
            self.stop(GRACE);
        }
    }
}
