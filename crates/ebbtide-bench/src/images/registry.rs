//! Debian's `docker-registry` on a loopback address, with one image in it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::layout::TAG;
use super::pull::run;
use crate::Error;

const START: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A registry that runs; it ends when it is dropped.
pub(super) struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    /// Starts one that keeps everything below `directory`.
    pub(super) fn start(directory: &Path) -> Result<Self, Error> {
        let failed = || Error::io("starting `docker-registry`");
        // Nobody else takes it in the moment between.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).map_err(failed())?;
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}/data\nhttp:\n  addr: \
             {address}\n",
            directory.display()
        );
        let file = directory.join("config.yml");
        fs::write(&file, config).map_err(failed())?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed())?;
        // From here on dropping ends it.
        let registry = Self { process, address: address.to_string() };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START {
                return Err(Error::Unexpected("`docker-registry`, which does not listen,".to_owned()));
            }
            sleep(LOOK);
        }
        Ok(registry)
    }

    /// Puts the image of a layout into it; returns its name.
    pub(super) fn fill(&self, layout: &Path) -> Result<String, Error> {
        let name = format!("{}/image:{TAG}", self.address);
        let from = format!("oci:{}:{TAG}", layout.display());
        let to = format!("docker://{name}");
        run(Command::new("skopeo").args(["copy", "--quiet", "--dest-tls-verify=false", &from, &to]))?;
        Ok(name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
