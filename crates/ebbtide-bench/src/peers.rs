//! The other ways to run a command in isolation, set up to do about what a sandbox of Ebbtide does.
//!
//! bwrap and the containers see the host's `/usr` read-only, as the image `host` does. The containers have bounds
//! on memory and processes; they have no user namespace and no bounded disk, which is to their advantage.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::Error;
use crate::helper::Helper;

/// The program that every contender runs.
pub(crate) const PROGRAM: &str = "/bin/true";

/// A start of `program` with nothing around it.
pub(crate) fn plain() -> Vec<String> {
    strings(&[PROGRAM])
}

/// All namespaces, the host's root.
pub(crate) fn unshare() -> Vec<String> {
    strings(&[
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--mount-proc",
        "--",
        PROGRAM,
    ])
}

/// All namespaces, a root of its own.
pub(crate) fn bwrap() -> Vec<String> {
    strings(&[
        "bwrap",
        "--unshare-all",
        "--new-session",
        "--ro-bind",
        "/usr",
        "/usr",
        "--symlink",
        "usr/bin",
        "/bin",
        "--symlink",
        "usr/sbin",
        "/sbin",
        "--symlink",
        "usr/lib",
        "/lib",
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--ro-bind",
        "/etc/ld.so.cache",
        "/etc/ld.so.cache",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--clearenv",
        "--setenv",
        "PATH",
        "/usr/bin:/bin",
        "--",
        PROGRAM,
    ])
}

/// An OCI runtime with a bundle for one-shot containers and one for a container that stays.
pub(crate) struct Oci {
    runtime: &'static str,
    state: String,
    once: String,
    idle: String,
    name: String,
}

impl Oci {
    /// Writes the bundles below `directory`.
    pub(crate) fn prepare(runtime: &'static str, directory: &Path, mark: &str) -> Result<Self, Error> {
        let path = |part: &str| directory.join(format!("{runtime}-{part}"));
        write_bundle(&path("once"), &[PROGRAM])?;
        // Ends by itself should this program be killed.
        write_bundle(&path("idle"), &["/bin/sleep", "1800"])?;
        let text = |part: &str| path(part).to_string_lossy().into_owned();
        Ok(Self {
            runtime,
            state: text("state"),
            once: text("once"),
            idle: text("idle"),
            name: format!("{mark}-{runtime}"),
        })
    }

    /// Create, start, wait, delete.
    pub(crate) fn run(&self) -> Vec<String> {
        self.command(&["run", "--bundle", &self.once, &format!("{}-once", self.name)])
    }

    /// Starts a container that stays.
    pub(crate) fn start(&self, name: &str) -> Vec<String> {
        self.command(&["run", "--detach", "--bundle", &self.idle, &format!("{}-{name}", self.name)])
    }

    /// Runs the program in a container that stays.
    pub(crate) fn exec(&self, name: &str) -> Vec<String> {
        self.command(&["exec", &format!("{}-{name}", self.name), PROGRAM])
    }

    /// Kills and removes a container.
    pub(crate) fn delete(&self, name: &str) -> Vec<String> {
        self.command(&["delete", "--force", &format!("{}-{name}", self.name)])
    }

    /// Removes whatever is left, whether or not it is there.
    pub(crate) fn clean(&self, helper: &mut Helper, names: &[&str]) {
        for name in names {
            // Not there is the usual case.
            let _ = helper.time(&self.delete(name));
        }
    }

    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = strings(&[self.runtime, "--root", &self.state]);
        command.extend(strings(arguments));
        command
    }
}

/// A bundle whose root is the host's `/usr`, read-only.
fn write_bundle(directory: &Path, arguments: &[&str]) -> Result<(), Error> {
    let root = directory.join("rootfs");
    let failed = || Error::io(format!("writing the bundle {}", directory.display()));
    for name in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(name)).map_err(failed())?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).map_err(failed())?;
    }
    let namespaces: Vec<_> = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        .map(|kind| serde_json::json!({ "type": kind }))
        .into();
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| serde_json::json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let bundle = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": arguments,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/usr", "bind", "/usr", &["bind", "ro"]),
            mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]),
        ],
        "linux": {
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": { "limit": 2_147_483_648_u64 },
                "pids": { "limit": 1024 },
            },
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    fs::write(directory.join("config.json"), bundle.to_string()).map_err(failed())
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
