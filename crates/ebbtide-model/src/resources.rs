//! What a sandbox may use.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Quantity};

/// Amounts of cpu and memory, each with the text the caller wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// Cores, e.g. `500m` or `2`.
    pub cpu: Option<Quantity>,
    /// Bytes, e.g. `256Mi`.
    pub memory: Option<Quantity>,
}

/// What the caller asked for. One side alone stands for both, as in Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// What is set aside.
    pub requests: Amounts,
    /// What may not be exceeded.
    pub limits: Amounts,
}

/// The bounds that hold for one sandbox, in plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveResources {
    /// Thousandths of a core; `None` for no bound.
    pub cpu_milli: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that may be written to its root file system.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Default for EffectiveResources {
    fn default() -> Self {
        Self { cpu_milli: None, memory_bytes: 2 << 30, disk_bytes: 1 << 30, pids: 1024 }
    }
}

impl Resources {
    const MIN_MEMORY: u64 = 4 << 20;
    const MIN_CPU: u64 = 10;
    const MAX_CPU: u64 = 1_000_000;
    const MAX_MEMORY: u64 = 1 << 50;

    /// The bounds that follow, with `defaults` where nothing was asked for.
    ///
    /// # Errors
    /// When an amount is out of range or a request is above its limit.
    pub fn effective(&self, defaults: EffectiveResources) -> Result<EffectiveResources, Invalid> {
        let mut effective = defaults;
        for (side, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            if let Some(cpu) = &amounts.cpu {
                let milli = cpu.milli().filter(|milli| (Self::MIN_CPU..=Self::MAX_CPU).contains(milli));
                effective.cpu_milli = Some(milli.ok_or_else(|| {
                    Invalid::new(
                        format!("resources.{side}.cpu"),
                        format!("{cpu} is out of range"),
                        "10m to 1000",
                    )
                })?);
            }
            if let Some(memory) = &amounts.memory {
                let bytes =
                    memory.units().filter(|bytes| (Self::MIN_MEMORY..=Self::MAX_MEMORY).contains(bytes));
                effective.memory_bytes = bytes.ok_or_else(|| {
                    Invalid::new(
                        format!("resources.{side}.memory"),
                        format!("{memory} is out of range"),
                        "4Mi to 1Pi",
                    )
                })?;
            }
        }
        for (name, request, limit) in [
            ("cpu", &self.requests.cpu, &self.limits.cpu),
            ("memory", &self.requests.memory, &self.limits.memory),
        ] {
            if let (Some(request), Some(limit)) = (request, limit)
                && request > limit
            {
                return Err(Invalid::new(
                    format!("resources.requests.{name}"),
                    format!("{request} is above the limit"),
                    format!("at most {limit}"),
                ));
            }
        }
        Ok(effective)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cpu: &str, memory: &str) -> Amounts {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Amounts { cpu: read(cpu), memory: read(memory) }
    }

    #[test]
    fn limits_win_and_one_side_stands_for_both() {
        let resources = Resources { requests: amounts("100m", "8Mi"), limits: amounts("2", "") };
        let effective = resources.effective(EffectiveResources::default()).unwrap();
        assert_eq!((effective.cpu_milli, effective.memory_bytes), (Some(2000), 8 << 20));
    }

    #[test]
    fn out_of_range_amounts_name_the_field() {
        for (requests, limits, field) in [
            (amounts("2", ""), amounts("1", ""), "resources.requests.cpu"),
            (amounts("", ""), amounts("1m", ""), "resources.limits.cpu"),
            (amounts("", "1"), amounts("", ""), "resources.requests.memory"),
        ] {
            let refused =
                Resources { requests, limits }.effective(EffectiveResources::default()).unwrap_err();
            assert_eq!(refused.field, field);
        }
    }
}
