//! How large an image may be.

/// Bounds of what the store takes. Past one, an image is refused with an error that names the bound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Layers of an image.
    pub max_layers: usize,
    /// Bytes of a manifest, an index or a configuration.
    pub max_manifest_bytes: u64,
    /// Bytes of a layer as it comes.
    pub max_blob_bytes: u64,
    /// Bytes of all layers of an image, unpacked.
    pub max_unpacked_bytes: u64,
    /// Files, directories and links of a layer.
    pub max_entries: u64,
    /// Bytes that are left free on the disk: what would take them is refused.
    pub min_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            // As many as overlayfs takes (500), less what the runtime puts around them; other tools stop at 127.
            max_layers: 400,
            max_manifest_bytes: 8 << 20,
            max_blob_bytes: 32 * GIB,
            max_unpacked_bytes: 128 * GIB,
            max_entries: 4_000_000,
            min_free_bytes: GIB,
        }
    }
}
