//! Makes the empty file system that the disk pool starts from, so that no user needs `mkfs.btrfs`.
//!
//! The image is kept as its runs of bytes that are not zero; `ebbtide-linux`'s `disk::template` reads it and describes the
//! format. Made again only when the layout should change: the result differs each time in ids and times.

use std::fs::{self, File};

use crate::Error;
use crate::process;
use crate::workspace::Workspace;

/// Large enough for the second superblock at 64 MiB and for `mkfs.btrfs`'s own minimum.
const IMAGE_SIZE: u64 = 128 << 20;
/// A run costs 12 bytes of header, so shorter gaps of zeros stay inside a run.
const GAP: usize = 12;

/// Makes the template with the host's `mkfs.btrfs`.
pub(crate) fn run() -> Result<(), Error> {
    let directory = tempfile::tempdir().map_err(Error::file("could not make", std::env::temp_dir()))?;
    let image = directory.path().join("image");
    File::create(&image)
        .and_then(|file| file.set_len(IMAGE_SIZE))
        .map_err(Error::file("could not make", &image))?;
    // One copy of metadata: the pool holds nothing that a second copy would save.
    process::run(process::command("mkfs.btrfs", ["-q", "-d", "single", "-m", "single"]).arg(&image))?;
    let sparse = sparse(&fs::read(&image).map_err(Error::file("could not read", &image))?);
    let output = Workspace::locate()?.root.join("crates/ebbtide-linux/assets/pool.btrfs.sparse");
    fs::write(&output, sparse).map_err(Error::file("could not write", &output))
}

fn sparse(image: &[u8]) -> Vec<u8> {
    let mut out = b"EBBSPRS1".to_vec();
    out.extend((image.len() as u64).to_le_bytes());
    let mut at = 0;
    while let Some(start) = image[at..].iter().position(|byte| *byte != 0).map(|skip| at + skip) {
        let mut end = start + 1;
        while let Some(next) = image[end..].iter().take(GAP).position(|byte| *byte != 0) {
            end += next + 1;
        }
        out.extend((start as u64).to_le_bytes());
        out.extend(((end - start) as u32).to_le_bytes());
        out.extend(&image[start..end]);
        at = end;
    }
    out
}
