//! How an image says it wants to be run.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageError};

/// What an image's configuration says about its main command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after them; the program itself if there is no entrypoint.
    pub cmd: Vec<String>,
    /// The environment, in the image's order.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// As whom: `user[:group]`, names or numbers, which mean what the image's files say.
    pub user: Option<String>,
    /// The signal that asks it to end, as the image writes it.
    pub stop_signal: Option<String>,
    /// Ports such as `80/tcp`, in order.
    pub exposed_ports: Vec<String>,
    /// Directories that it writes to, in order.
    pub volumes: Vec<String>,
    /// What its maker wrote on it.
    pub labels: BTreeMap<String, String>,
}

/// A configuration with what concerns the store.
pub(crate) struct Described {
    pub(crate) config: ImageConfig,
    pub(crate) platform: String,
    pub(crate) created: Option<String>,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a configuration, OCI's or Docker's: they differ in fields that are of no use here.
pub(crate) fn read(json: &[u8]) -> Result<Described, ImageError> {
    let malformed =
        |problem: &dyn ToString| ImageError::malformed("the image's configuration", problem.to_string());
    let document: ImageConfiguration = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    let diff_ids = document.rootfs().diff_ids().iter().map(|digest| digest.parse());
    let diff_ids = diff_ids.collect::<Result<_, ImageError>>().map_err(|error| malformed(&error))?;
    let platform = match document.variant() {
        Some(variant) if !variant.is_empty() => {
            format!("{}/{}/{variant}", document.os(), document.architecture())
        }
        _ => format!("{}/{}", document.os(), document.architecture()),
    };
    let created = document.created().clone();
    Ok(Described { config: taken(&document), platform, created, diff_ids })
}

fn taken(document: &ImageConfiguration) -> ImageConfig {
    let Some(config) = document.config() else { return ImageConfig::default() };
    let list = |of: &Option<Vec<String>>| of.clone().unwrap_or_default();
    let sorted = |of: &Option<Vec<String>>| {
        let mut list = list(of);
        list.sort();
        list
    };
    let text = |of: &Option<String>| of.clone().filter(|text| !text.is_empty());
    let variable = |variable: String| match variable.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (variable, String::new()),
    };
    ImageConfig {
        entrypoint: list(config.entrypoint()),
        cmd: list(config.cmd()),
        env: list(config.env()).into_iter().map(variable).filter(|(name, _)| !name.is_empty()).collect(),
        working_dir: text(config.working_dir()),
        user: text(config.user()),
        stop_signal: text(config.stop_signal()),
        exposed_ports: sorted(config.exposed_ports()),
        volumes: sorted(config.volumes()),
        labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_docker_is_read_with_its_nulls_and_its_own_fields() {
        let json = br#"{"architecture":"amd64","os":"linux","docker_version":"20.10","container_config":{"Cmd":["x"]},
            "created":"2024-01-02T03:04:05Z","rootfs":{"type":"layers","diff_ids":[]},"history":null,
            "config":{"Hostname":"","User":"","ExposedPorts":{"443/tcp":{},"1/udp":{}},"Env":["A=1=2","B","=c"],
            "Cmd":["sh","-c"],"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null,
            "StopSignal":"SIGQUIT"}}"#;
        let described = read(json).unwrap();
        assert_eq!(described.platform, "linux/amd64");
        assert_eq!(described.created.as_deref(), Some("2024-01-02T03:04:05Z"));
        let expected = ImageConfig {
            cmd: vec!["sh".into(), "-c".into()],
            env: vec![("A".into(), "1=2".into()), ("B".into(), String::new())],
            stop_signal: Some("SIGQUIT".into()),
            exposed_ports: vec!["1/udp".into(), "443/tcp".into()],
            ..ImageConfig::default()
        };
        assert_eq!(described.config, expected);
    }

    #[test]
    fn a_configuration_that_says_nothing_is_one_and_nonsense_is_none() {
        let json = br#"{"architecture":"arm64","variant":"v8","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let described = read(json).unwrap();
        assert_eq!(
            (described.platform.as_str(), described.config),
            ("linux/arm64/v8", ImageConfig::default())
        );
        let sha512 =
            br#"{"architecture":"a","os":"linux","rootfs":{"type":"layers","diff_ids":["sha512:0"]}}"#;
        for wrong in [&b"{}"[..], b"", b"[]", b"\xff", sha512] {
            assert!(matches!(read(wrong), Err(ImageError::Malformed { .. })));
        }
    }
}
