//! What machine the numbers are from.

use std::fs;
use std::process::Command;

/// Facts as the report lists them.
pub(crate) fn machine() -> Vec<(&'static str, String)> {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let hybrid = fs::exists("/sys/fs/cgroup/unified").unwrap_or(false);
    vec![
        ("date", said("date", &["-u", "+%F %H:%M UTC"])),
        ("kernel", said("uname", &["-sr"])),
        ("system", field("/etc/os-release", "PRETTY_NAME").unwrap_or_default().trim_matches('"').to_owned()),
        ("processor", format!("{cores} × {cpu}")),
        ("memory", memory),
        ("cgroups", if hybrid { "hybrid (v1 controllers, empty v2 tree)" } else { "v2" }.to_owned()),
        ("load before", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()),
        ("mounts of the host", lines("/proc/self/mountinfo").to_string()),
        ("ebbtide", env!("CARGO_PKG_VERSION").to_owned()),
        ("bwrap", said("bwrap", &["--version"])),
        ("crun", said("crun", &["--version"])),
        ("runc", said("runc", &["--version"])),
        ("unshare", said("unshare", &["--version"])),
        ("podman", said("podman", &["--version"])),
        ("skopeo", said("skopeo", &["--version"])),
        ("umoci", said("umoci", &["--version"])),
    ]
}

/// The first line that a program says; empty if it says none.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once([':', '='])?.1.trim().to_owned())
}

fn lines(file: &str) -> usize {
    fs::read_to_string(file).map(|text| text.lines().count()).unwrap_or_default()
}
