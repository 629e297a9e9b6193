//! What a sandbox may use, as its caller writes it.

use ebbtide_proto::coreweave::sandbox::v1 as wire;

/// Amounts of cpu and memory, in the words of Kubernetes: `500m`, `2`; `256Mi`, `1Gi`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceAmounts {
    /// Cores.
    pub cpu: Option<String>,
    /// Bytes.
    pub memory: Option<String>,
}

/// What a sandbox may use. One side alone stands for both.
///
/// ```
/// let resources = ebbtide::Resources::of("500m", "256Mi");
/// assert_eq!(resources.requests, resources.limits);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// What is set aside.
    pub requests: ResourceAmounts,
    /// What may not be exceeded.
    pub limits: ResourceAmounts,
}

impl Resources {
    /// These amounts, set aside and not to be exceeded.
    pub fn of(cpu: impl Into<String>, memory: impl Into<String>) -> Self {
        let amounts = ResourceAmounts { cpu: Some(cpu.into()), memory: Some(memory.into()) };
        Self { requests: amounts.clone(), limits: amounts }
    }

    pub(crate) fn into_message(self) -> wire::ResourceRequirements {
        let side = |amounts: ResourceAmounts| {
            (amounts != ResourceAmounts::default()).then(|| wire::Resources {
                cpu: amounts.cpu.unwrap_or_default(),
                memory: amounts.memory.unwrap_or_default(),
                gpu: None,
            })
        };
        wire::ResourceRequirements { requests: side(self.requests), limits: side(self.limits) }
    }
}
