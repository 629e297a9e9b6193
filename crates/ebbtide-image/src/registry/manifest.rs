//! Manifests and indexes, OCI's and Docker's, which differ in the names of their types.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::error::PullProblem;
use crate::media_type::{
    DOCKER_CONFIG, DOCKER_INDEX, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD, DOCKER_MANIFEST,
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
};
use crate::{Digest, Limits};

const CONFIGS: [&str; 2] = [OCI_CONFIG, DOCKER_CONFIG];
const LAYERS: [&str; 6] =
    [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD];

/// What a registry is told that we understand.
pub(super) fn accepted() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", ")
}

/// What a reference stands for.
pub(super) enum Found {
    /// One image for each of several kinds of machines.
    Index(Vec<Descriptor>),
    /// One image.
    Image(Plan),
}

/// A blob that belongs to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What an image consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) config: Blob,
    /// The bottom first.
    pub(super) layers: Vec<Blob>,
}

/// Reads a document that `host` sent as `media_type`.
pub(super) fn read(
    bytes: &[u8],
    media_type: Option<&str>,
    host: &str,
    limits: &Limits,
) -> Result<Found, PullProblem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        schema_version: Option<u32>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let what = || "the manifest".to_owned();
    let malformed = |cause: String| PullProblem::Document { what: what(), host: host.to_owned(), cause };
    let shape: Shape = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    // What the document says of itself is covered by its digest; what the registry says is not.
    let media_type = match (shape.media_type.as_deref(), media_type) {
        (Some(known), _) => known,
        (None, Some(said @ (OCI_INDEX | DOCKER_INDEX | OCI_MANIFEST | DOCKER_MANIFEST))) => said,
        (None, Some(said)) if shape.schema_version != Some(2) => said,
        (None, _) if shape.manifests.is_some() => OCI_INDEX,
        (None, _) => OCI_MANIFEST,
    };
    match media_type {
        OCI_INDEX | DOCKER_INDEX => {
            let index: ImageIndex =
                serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
            Ok(Found::Index(index.manifests().clone()))
        }
        OCI_MANIFEST | DOCKER_MANIFEST => {
            let manifest: ImageManifest =
                serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
            plan(&manifest, limits, malformed).map(Found::Image)
        }
        other => Err(PullProblem::MediaType {
            what: what(),
            media_type: other.chars().take(200).collect(),
            advice: "push it again with a current tool: as an OCI image, or Docker's of version 2",
        }),
    }
}

fn plan(
    manifest: &ImageManifest,
    limits: &Limits,
    malformed: impl Fn(String) -> PullProblem,
) -> Result<Plan, PullProblem> {
    let blob = |descriptor: &Descriptor| -> Result<Blob, PullProblem> {
        let digest = descriptor.digest().to_string().parse();
        let digest = digest.map_err(|error: crate::ImageError| malformed(error.to_string()))?;
        Ok(Blob { digest, size: descriptor.size() })
    };
    let config_type = manifest.config().media_type().to_string();
    if !CONFIGS.contains(&config_type.as_str()) {
        return Err(PullProblem::MediaType {
            what: "its configuration".to_owned(),
            media_type: config_type,
            advice: "it is no image of a root file system; check the name",
        });
    }
    let config = blob(manifest.config())?;
    if config.size > limits.max_manifest_bytes {
        let what = "its configuration".to_owned();
        return Err(PullProblem::TooLarge { what, limit: limits.max_manifest_bytes });
    }
    let (count, limit) = (manifest.layers().len(), limits.max_layers);
    if count > limit {
        return Err(PullProblem::TooManyLayers { layers: count, limit });
    }
    let mut layers = Vec::new();
    for (nth, descriptor) in manifest.layers().iter().enumerate() {
        let what = || format!("layer {} of {count}", nth + 1);
        let media_type = descriptor.media_type().to_string();
        if !LAYERS.contains(&media_type.as_str()) {
            let foreign = media_type.contains("foreign") || media_type.contains("nondistributable");
            let advice = if foreign {
                "it is a foreign layer, which registries do not hold: build the image on another base"
            } else {
                "push the image again with layers that are tar archives, plain or compressed by gzip or zstd"
            };
            return Err(PullProblem::MediaType { what: what(), media_type, advice });
        }
        let layer = blob(descriptor)?;
        if layer.size > limits.max_blob_bytes {
            return Err(PullProblem::TooLarge { what: what(), limit: limits.max_blob_bytes });
        }
        layers.push(layer);
    }
    Ok(Plan { config, layers })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str, size: u64) -> Value {
        json!({ "mediaType": media_type, "digest": Digest::of(media_type.as_bytes()).to_string(), "size": size })
    }

    fn read_json(document: &Value, said: Option<&str>) -> Result<Found, PullProblem> {
        read(document.to_string().as_bytes(), said, "r.example", &Limits::default())
    }

    #[test]
    fn both_families_of_types_are_read_whoever_names_the_type() {
        for (manifest, config, layer) in
            [(OCI_MANIFEST, CONFIGS[0], LAYERS[2]), (DOCKER_MANIFEST, CONFIGS[1], LAYERS[4])]
        {
            let mut document = json!({
                "schemaVersion": 2, "mediaType": manifest,
                "config": descriptor(config, 7), "layers": [descriptor(layer, 9)],
            });
            for (in_document, said) in [(true, None), (false, Some(manifest)), (false, Some("text/plain"))] {
                if !in_document {
                    document.as_object_mut().unwrap().remove("mediaType");
                }
                match read_json(&document, said).unwrap() {
                    Found::Image(plan) => assert_eq!((plan.config.size, plan.layers[0].size), (7, 9)),
                    Found::Index(_) => panic!("{document}"),
                }
            }
        }
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, 1)] });
        assert!(matches!(read_json(&index, None), Ok(Found::Index(entries)) if entries.len() == 1));
    }

    #[test]
    fn what_cannot_be_unpacked_is_refused_by_name_before_anything_is_fetched() {
        let image = |config: &str, layer: Value| json!({ "schemaVersion": 2, "config": descriptor(config, 2), "layers": [layer] });
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        for (document, said, named) in [
            (image(CONFIGS[0], descriptor(foreign, 1)), None, foreign),
            (image(CONFIGS[0], descriptor("application/x-enc", 1)), None, "application/x-enc"),
            (image("application/vnd.cncf.helm.config.v1+json", descriptor(LAYERS[0], 1)), None, "helm"),
            (image(CONFIGS[0], descriptor(LAYERS[0], 1 << 60)), None, "layer 1 of 1 is larger"),
            (
                json!({ "schemaVersion": 1, "fsLayers": [] }),
                Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
                "manifest.v1+prettyjws",
            ),
            (json!({ "schemaVersion": 2 }), None, "cannot be understood"),
            (json!([]), None, "cannot be understood"),
        ] {
            let message = read_json(&document, said).err().unwrap().to_string();
            assert!(message.contains(named), "{document}: {message}");
        }
        let mut sha512 = descriptor(LAYERS[0], 1);
        sha512["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
        assert!(matches!(read_json(&image(CONFIGS[0], sha512), None), Err(PullProblem::Document { .. })));
    }
}
