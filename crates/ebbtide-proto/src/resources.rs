//! Amounts of cpu and memory in both directions.

use ebbtide_model::{Amounts, EffectiveResources, Invalid, Quantity, Resources};

use crate::Refusal;
use crate::coreweave::sandbox::v1 as wire;
use crate::refusal::unless;

/// Reads both ways in which a container can ask for resources. `resources` alone is request and limit at once.
pub(crate) fn read(
    field: &str,
    resources: Option<wire::Resources>,
    requirements: Option<wire::ResourceRequirements>,
) -> Result<Resources, Refusal> {
    match (resources, requirements) {
        (None, None) => Ok(Resources::default()),
        (Some(both), None) => {
            let amounts = amounts(&format!("{field}.resources"), Some(both))?;
            Ok(Resources { requests: amounts.clone(), limits: amounts })
        }
        (None, Some(sides)) => Ok(Resources {
            requests: amounts(&format!("{field}.resource_requirements.requests"), sides.requests)?,
            limits: amounts(&format!("{field}.resource_requirements.limits"), sides.limits)?,
        }),
        (Some(_), Some(_)) => Err(Invalid::new(
            format!("{field}.resources"),
            "is given beside resource_requirements",
            "one of the two",
        )
        .into()),
    }
}

fn amounts(field: &str, side: Option<wire::Resources>) -> Result<Amounts, Refusal> {
    let side = side.unwrap_or_default();
    unless(
        side.gpu.as_ref().is_none_or(|gpu| gpu.count == 0 && gpu.selector.is_none()),
        &format!("{field}.gpu"),
        "gpus are",
    )?;
    let read = |name: &str, text: &str| -> Result<Option<Quantity>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|refused: Invalid| refused.within(&format!("{field}.{name}")))
    };
    Ok(Amounts { cpu: read("cpu", &side.cpu)?, memory: read("memory", &side.memory)? })
}

/// What was asked for, in the words it was asked in.
pub(crate) fn echo(resources: &Resources) -> Option<wire::ResourceRequirements> {
    let side = |amounts: &Amounts| {
        (*amounts != Amounts::default()).then(|| wire::Resources {
            cpu: text(amounts.cpu.as_ref()),
            memory: text(amounts.memory.as_ref()),
            gpu: None,
        })
    };
    (*resources != Resources::default()).then(|| wire::ResourceRequirements {
        requests: side(&resources.requests),
        limits: side(&resources.limits),
    })
}

/// What holds: the caller's own words where there are any, the daemon's defaults elsewhere.
pub(crate) fn effective(resources: &Resources, defaults: EffectiveResources) -> wire::ResourceRequirements {
    let side = |first: &Amounts, second: &Amounts| wire::Resources {
        cpu: first
            .cpu
            .as_ref()
            .or(second.cpu.as_ref())
            .map(ToString::to_string)
            .or_else(|| defaults.cpu_milli.map(|milli| format!("{milli}m")))
            .unwrap_or_default(),
        memory: first
            .memory
            .as_ref()
            .or(second.memory.as_ref())
            .map_or_else(|| bytes(defaults.memory_bytes), ToString::to_string),
        gpu: None,
    };
    let Resources { requests, limits } = resources;
    wire::ResourceRequirements {
        requests: Some(side(requests, limits)),
        limits: Some(side(limits, requests)),
    }
}

fn text(quantity: Option<&Quantity>) -> String {
    quantity.map(ToString::to_string).unwrap_or_default()
}

fn bytes(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    UNITS
        .iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, suffix)| format!("{}{suffix}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_shown_in_round_units() {
        assert_eq!(bytes(2 << 30), "2Gi");
        assert_eq!(bytes(1536 << 20), "1536Mi");
        assert_eq!(bytes(1000), "1000");
        assert_eq!(bytes(0), "0");
    }

    #[test]
    fn the_callers_own_words_come_back() {
        let asked = wire::ResourceRequirements {
            requests: Some(wire::Resources { cpu: "500m".into(), ..Default::default() }),
            limits: Some(wire::Resources { memory: "1Gi".into(), ..Default::default() }),
        };
        let resources = read("c", None, Some(asked.clone())).unwrap();
        assert_eq!(echo(&resources), Some(asked));
        let shown = effective(&resources, EffectiveResources::default());
        for side in [shown.requests.unwrap(), shown.limits.unwrap()] {
            assert_eq!((side.cpu.as_str(), side.memory.as_str()), ("500m", "1Gi"));
        }
    }

    #[test]
    fn an_unreadable_quantity_names_its_field() {
        let bad = wire::Resources { memory: "lots".into(), ..Default::default() };
        assert_eq!(read("c", Some(bad), None).unwrap_err().field(), "c.resources.memory");
    }
}
