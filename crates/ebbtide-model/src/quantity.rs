//! Quantities as Kubernetes writes them: `500m`, `256Mi`, `2`, `1e3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Invalid;

/// A non-negative amount with the text it was written as, since clients expect that text back.
///
/// ```
/// use ebbtide_model::Quantity;
/// let memory: Quantity = "256Mi".parse().unwrap();
/// assert_eq!(memory.units(), Some(256 * 1024 * 1024));
/// let cpu: Quantity = "500m".parse().unwrap();
/// assert_eq!(cpu.milli(), Some(500));
/// assert_eq!(cpu.to_string(), "500m");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    nano: u128,
}

const NANO: u128 = 1_000_000_000;
/// Far above any machine, and far below where the arithmetic could overflow.
const CEILING: u128 = (1 << 63) * NANO;
const FORM: &str =
    "a number with an optional suffix n u m k M G T P E Ki Mi Gi Ti Pi Ei or exponent, e.g. 500m, 2, 256Mi";

impl Quantity {
    /// A whole number of units.
    pub fn from_units(units: u64) -> Self {
        Self { text: units.to_string(), nano: u128::from(units) * NANO }
    }

    /// The amount in whole units, rounded up; `None` above `u64::MAX`.
    pub fn units(&self) -> Option<u64> {
        u64::try_from(self.nano.div_ceil(NANO)).ok()
    }

    /// The amount in thousandths, rounded up; `None` above `u64::MAX`.
    pub fn milli(&self) -> Option<u64> {
        u64::try_from(self.nano.div_ceil(NANO / 1000)).ok()
    }

    /// The text the quantity was written as.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.nano != other.nano || self.text == other.text).then(|| self.nano.cmp(&other.nano))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Quantity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse_nano(text).map(|nano| Self { text: text.to_owned(), nano }).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Invalid::new("", format!("{shown:?} is not a quantity"), FORM)
        })
    }
}

fn parse_nano(text: &str) -> Option<u128> {
    if text.len() > 40 {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (numerator, denominator) = multiplier(suffix)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let digits = whole.checked_mul(scale)?.checked_add(fraction)?;
    let nano = digits.checked_mul(numerator)?.div_ceil(scale.checked_mul(denominator)?);
    (nano <= CEILING).then_some(nano)
}

/// The suffix as a fraction of nano-units.
fn multiplier(suffix: &str) -> Option<(u128, u128)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        let exponent: i32 = exponent.parse().ok()?;
        let power = 10u128.checked_pow(exponent.unsigned_abs())?;
        return if exponent < 0 { Some((NANO, power)) } else { Some((NANO.checked_mul(power)?, 1)) };
    }
    let units = match suffix {
        "n" => return Some((1, 1)),
        "u" => return Some((1_000, 1)),
        "m" => return Some((1_000_000, 1)),
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return None,
    };
    Some((NANO * units, 1))
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn kubernetes_forms_are_read() {
        for (text, milli) in [
            ("0", 0),
            ("2", 2_000),
            ("500m", 500),
            ("1.5", 1_500),
            (".5", 500),
            ("1e3", 1_000_000),
            ("2E-1", 200),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("0.1m", 1),
            ("100u", 1),
        ] {
            assert_eq!(quantity(text).milli(), Some(milli), "{text}");
        }
        assert_eq!(quantity("1Gi").units(), Some(1 << 30));
        assert_eq!(quantity("1E").units(), Some(1_000_000_000_000_000_000));
        assert!(quantity("1Gi") > quantity("1G"));
    }

    #[test]
    fn unreadable_forms_are_refused() {
        for text in
            ["", "m", "-1", "1 Gi", "1gi", "1.2.3", "NaN", "inf", "0x10", "1e", "1e99", "99E", "1Zi", "١"]
        {
            let refused = text.parse::<Quantity>();
            assert!(refused.is_err(), "{text:?} was read as {refused:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,60}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert_eq!(quantity.as_str(), text);
                prop_assert!(quantity.units().is_some());
            }
        }

        #[test]
        fn whole_numbers_keep_their_value(units in 0u64..1 << 62) {
            prop_assert_eq!(quantity(&units.to_string()).units(), Some(units));
        }
    }
}
