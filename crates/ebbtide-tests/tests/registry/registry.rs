//! Debian's `docker-registry` on a loopback address, empty and of the test's own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_tests::{Started, eventually};

/// Who may use a registry with a password, and the same as bcrypt has it.
pub(crate) const USER: &str = "tester";
pub(crate) const PASSWORD: &str = "correct horse";
const HTPASSWD: &str = "tester:$2y$05$Z3O2FsI1BmOG8xJZxpK6W.fY2HLmn7sIFUnt9qmeCG587OE6xE5Za";

/// How a registry is to be.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) password: bool,
    /// Its certificate and key.
    pub(crate) tls: Option<(&'a Path, &'a Path)>,
    /// Where it listens, if not on loopback.
    pub(crate) host: Option<&'a str>,
}

/// A registry that runs.
pub(crate) struct Registry {
    process: Option<Started>,
    directory: tempfile::TempDir,
    /// HOST:PORT.
    pub(crate) address: String,
}

impl Registry {
    /// Starts one that anybody may use.
    pub(crate) fn start() -> Self {
        Self::start_with(&Options::default())
    }

    pub(crate) fn start_with(options: &Options<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = options.host.unwrap_or("127.0.0.1");
        // Nobody else takes it in the moment between.
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let address = format!("{host}:{port}");
        let root = directory.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\nhttp:\n  \
             addr: {address}\n"
        );
        if let Some((cert, key)) = options.tls {
            config += &format!("  tls:\n    certificate: {}\n    key: {}\n", cert.display(), key.display());
        }
        if options.password {
            fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/htpasswd\n");
        }
        fs::write(directory.path().join("config.yml"), config).unwrap();
        let mut registry = Self { process: None, directory, address };
        registry.resume();
        registry
    }

    /// Starts it again, with all that it had.
    pub(crate) fn resume(&mut self) {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.directory.path().join("config.yml"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Without this program: `cargo xtask test` installs it.
        self.process = Some(Started::new(&mut command));
        eventually("the registry listens", Duration::from_secs(20), || {
            TcpStream::connect(&self.address).ok()
        });
    }

    /// Ends it; what it had stays.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }
}
