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

/// Graphics processors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpu {
    /// How many.
    pub count: u32,
    /// Of this type; of any otherwise.
    pub kind: Option<String>,
    /// With so much memory each, in GB; with any otherwise. Not together with a type.
    pub memory_gb: Option<u32>,
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
    /// Graphics processors, which a sandbox has for itself.
    pub gpu: Option<Gpu>,
}

impl Resources {
    /// These amounts, set aside and not to be exceeded.
    pub fn of(cpu: impl Into<String>, memory: impl Into<String>) -> Self {
        let amounts = ResourceAmounts { cpu: Some(cpu.into()), memory: Some(memory.into()) };
        Self { requests: amounts.clone(), limits: amounts, gpu: None }
    }

    pub(crate) fn into_message(self) -> wire::ResourceRequirements {
        use wire::gpu::Selector;
        let gpu = self.gpu.map(|gpu| wire::Gpu {
            count: gpu.count.into(),
            selector: gpu.kind.map(Selector::Type).or(gpu.memory_gb.map(|gb| Selector::MemoryGb(gb.into()))),
        });
        let side = |amounts: ResourceAmounts| {
            (amounts != ResourceAmounts::default() || gpu.is_some()).then(|| wire::Resources {
                cpu: amounts.cpu.unwrap_or_default(),
                memory: amounts.memory.unwrap_or_default(),
                gpu: gpu.clone(),
            })
        };
        wire::ResourceRequirements { requests: side(self.requests), limits: side(self.limits) }
    }
}
