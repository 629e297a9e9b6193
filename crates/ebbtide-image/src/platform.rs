//! What kind of machine an image is for.

use std::fmt;
use std::str::FromStr;

use ebbtide_model::Invalid;
use oci_spec::image::Descriptor;

/// A kind of machine: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// The machine that this runs on.
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            same => same,
        };
        let variant = (architecture == "arm").then(|| {
            let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
            if machine.starts_with("armv6") { "v6" } else { "v7" }.to_owned()
        });
        Self { architecture: architecture.to_owned(), variant }
    }

    /// The variant as a number, since it only counts upwards; what does not say is the usual one.
    fn level(architecture: &str, variant: Option<&str>) -> Option<u32> {
        match variant {
            Some(variant) => variant.strip_prefix('v')?.parse().ok(),
            None => Some(match architecture {
                "arm" => 7,
                "arm64" => 8,
                _ => 1,
            }),
        }
    }

    /// Its processor, as images call it.
    pub(crate) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// How well something for `architecture` and `variant` suits; `None` if it does not run.
    fn suits(&self, architecture: &str, variant: Option<&str>) -> Option<u32> {
        if architecture != self.architecture {
            return None;
        }
        let offered = Self::level(architecture, variant)?;
        (offered <= Self::level(architecture, self.variant.as_deref())?).then_some(offered)
    }

    /// The entry of an index that suits best; else what is there.
    pub(crate) fn choose<'a>(&self, entries: &'a [Descriptor]) -> Result<&'a Descriptor, Vec<String>> {
        let mut offered = Vec::new();
        let mut best: Option<(u32, &Descriptor)> = None;
        for entry in entries {
            // Attestations have a platform that is none: unknown/unknown.
            let Some(platform) = entry.platform() else { continue };
            let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
            let variant = platform.variant().as_deref();
            if os == "unknown" {
                continue;
            }
            offered.push(spell(&os, &architecture, variant));
            let suits = if os == "linux" { self.suits(&architecture, variant) } else { None };
            // Of equals the first, as other clients do.
            if let Some(suits) = suits
                && best.is_none_or(|(known, _)| suits > known)
            {
                best = Some((suits, entry));
            }
        }
        best.map(|(_, entry)| entry).ok_or_else(|| {
            offered.sort();
            offered.dedup();
            offered
        })
    }

    /// Whether an image that says this of itself runs here.
    pub(crate) fn runs(&self, os: &str, architecture: &str, variant: Option<&str>) -> Result<(), String> {
        let suits = os == "linux" && self.suits(architecture, variant).is_some();
        if suits { Ok(()) } else { Err(spell(os, architecture, variant)) }
    }
}

fn spell(os: &str, architecture: &str, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell("linux", &self.architecture, self.variant.as_deref()))
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = |problem: &str| {
            Invalid::new(
                "platform",
                format!("{text:?} {problem}"),
                "linux/ARCHITECTURE[/VARIANT], e.g. linux/arm64",
            )
        };
        let mut parts = text.split('/');
        let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
        let well_formed = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        match (os, architecture, variant, parts.next()) {
            (Some("linux"), Some(architecture), variant, None) if well_formed(architecture) => {
                let variant = variant.map(str::to_owned);
                if Self::level(architecture, variant.as_deref()).is_none() {
                    return Err(refused("has a variant that is no v and a number"));
                }
                Ok(Self { architecture: architecture.to_owned(), variant })
            }
            (Some(os), Some(_), _, None) if os != "linux" => Err(refused("is not for Linux")),
            _ => Err(refused("is no platform")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Vec<Descriptor> {
        let entries = platforms.iter().enumerate().map(|(nth, (os, architecture, variant))| {
            serde_json::from_value(serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{nth:064x}"),
                "size": 1,
                "platform": { "os": os, "architecture": architecture, "variant": variant },
            }))
            .unwrap()
        });
        entries.collect()
    }

    fn chosen(wanted: &str, platforms: &[(&str, &str, Option<&str>)]) -> Result<usize, Vec<String>> {
        let entries = index(platforms);
        let entry = wanted.parse::<Platform>().unwrap().choose(&entries)?;
        Ok(entries.iter().position(|other| other == entry).unwrap())
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        let arm = [
            ("linux", "arm", Some("v5")),
            ("linux", "arm", Some("v7")),
            ("linux", "arm", Some("v6")),
            ("linux", "arm64", Some("v8")),
        ];
        assert_eq!(chosen("linux/arm/v7", &arm), Ok(1));
        assert_eq!(chosen("linux/arm", &arm), Ok(1));
        assert_eq!(chosen("linux/arm/v6", &arm), Ok(2));
        assert_eq!(chosen("linux/arm64", &arm), Ok(3));
        let amd = [("linux", "amd64", Some("v3")), ("linux", "amd64", None), ("linux", "amd64", None)];
        assert_eq!(chosen("linux/amd64", &amd), Ok(1));
        assert_eq!(chosen("linux/amd64/v3", &amd), Ok(0));
    }

    #[test]
    fn what_suits_nobody_is_listed_without_attestations() {
        let there = [
            ("windows", "amd64", None),
            ("unknown", "unknown", None),
            ("linux", "s390x", None),
            ("linux", "arm", Some("v7")),
        ];
        let listed = chosen("linux/amd64", &there).unwrap_err();
        assert_eq!(listed, ["linux/arm/v7", "linux/s390x", "windows/amd64"]);
    }

    #[test]
    fn a_platform_that_is_none_is_refused() {
        for bad in
            ["", "amd64", "windows/amd64", "linux/", "linux/arm/seven", "linux/arm/v7/v8", "linux/AMD64"]
        {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        assert_eq!("linux/arm/v6".parse::<Platform>().unwrap().to_string(), "linux/arm/v6");
    }
}
