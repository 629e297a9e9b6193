//! How much a driver has to give.

/// What sandboxes of a driver run on, and how much of it is free at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The processor's kind in the words of OCI images, e.g. `amd64` or `arm64`.
    pub architecture: String,
    /// All processors, in thousandths.
    pub cpu_milli: u64,
    /// All memory.
    pub memory_bytes: u64,
    /// Processors that nobody keeps busy, in thousandths; at most [`Capacity::cpu_milli`].
    pub free_cpu_milli: u64,
    /// Memory that can be had without taking it from anybody; at most [`Capacity::memory_bytes`].
    pub free_memory_bytes: u64,
}

impl Capacity {
    /// The words of OCI images for what Rust and the kernel call `x86_64`, `aarch64` and so on.
    pub fn architecture_of(machine: &str) -> &str {
        match machine {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }
}
