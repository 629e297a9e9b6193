//! How much of this machine there is, and how much of it is free now.

use std::fs;

use ebbtide_driver::{Capacity, DriverError};

pub(super) fn read() -> Result<Capacity, DriverError> {
    let file =
        |path: &str| fs::read_to_string(path).map_err(|error| DriverError::io(format!("read {path}"), error));
    let (memory, load) = (file("/proc/meminfo")?, file("/proc/loadavg")?);
    // As many as we may use, which can be fewer than the machine has.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let unreadable = |path: &str| DriverError::Protocol(format!("{path} is not as it should be"));
    capacity(processors as u64, &memory, &load).ok_or_else(|| unreadable("/proc/meminfo or /proc/loadavg"))
}

fn capacity(processors: u64, memory: &str, load: &str) -> Option<Capacity> {
    let cpu_milli = processors * 1000;
    // The mean of the last minute: processes that run or want to.
    let load: f64 = load.split_whitespace().next()?.parse().ok()?;
    let memory_bytes = field(memory, "MemTotal:")?;
    Some(Capacity {
        architecture: Capacity::architecture_of(std::env::consts::ARCH).to_owned(),
        cpu_milli,
        memory_bytes,
        free_cpu_milli: cpu_milli.saturating_sub((load * 1000.0) as u64),
        free_memory_bytes: field(memory, "MemAvailable:")?.min(memory_bytes),
    })
}

/// A line of `/proc/meminfo`, in bytes.
fn field(memory: &str, name: &str) -> Option<u64> {
    let kibibytes = memory.lines().find_map(|line| line.strip_prefix(name))?;
    kibibytes.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal:       1000 kB\nMemFree:   1 kB\nMemAvailable:   400 kB\n";

    #[test]
    fn what_is_free_is_what_nobody_uses_and_never_below_nothing() {
        let quiet = capacity(2, MEMORY, "0.50 0.1 0.1 1/100 7\n").unwrap();
        assert_eq!((quiet.cpu_milli, quiet.free_cpu_milli), (2000, 1500));
        assert_eq!((quiet.memory_bytes, quiet.free_memory_bytes), (1_024_000, 409_600));
        assert_eq!(capacity(2, MEMORY, "9.00 0 0 1/1 1").unwrap().free_cpu_milli, 0);
        assert_eq!(capacity(2, "", "0 0 0 1/1 1"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let here = read().unwrap();
        assert!(here.memory_bytes > 0 && here.free_memory_bytes <= here.memory_bytes);
    }
}
