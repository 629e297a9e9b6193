//! Keeping what can be read only once, and taking the digests of what can be read again.

use std::io::{self, Read};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::files::Part;
use super::{LoadError, Progress};
use crate::layer::decoder;
use crate::{Digest, Encoding, Ingest};

/// How much is moved at once.
pub(super) const PIECE: usize = 256 * 1024;
/// As much as tells how something is encoded, and that it is a tar archive.
const HEAD: u64 = 512;

/// All of `from` in a file without a name, which goes with its last reader, whatever becomes of this process.
pub(super) fn spool(
    ingest: &Ingest,
    from: &mut dyn Read,
    label: &str,
    most: u64,
    progress: Progress<'_>,
) -> Result<Part, LoadError> {
    let mut scratch = ingest.scratch()?;
    let size = bounded(from, label, most, progress, |piece| Ok(scratch.write(piece)?))?;
    Ok(Part::new(Arc::new(scratch.into_file()), 0, size))
}

/// The digest of all of `from`, and how much it is.
pub(super) fn digest_of(
    from: &mut dyn Read,
    label: &str,
    most: u64,
    progress: Progress<'_>,
) -> Result<(Digest, u64), LoadError> {
    let mut hasher = Sha256::new();
    let size = bounded(from, label, most, progress, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok((Digest::from_hasher(hasher), size))
}

/// Calls `take` with everything that `from` holds, `most` bytes at most; how much it is.
fn bounded(
    from: &mut dyn Read,
    label: &str,
    most: u64,
    progress: Progress<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), LoadError>,
) -> Result<u64, LoadError> {
    let mut size = 0;
    let counted = |piece: &[u8]| {
        size += piece.len() as u64;
        if size > most {
            return Err(LoadError::TooLarge { what: label.to_owned(), limit: most });
        }
        progress(piece.len() as u64);
        take(piece)
    };
    pieces(from, counted, |error| LoadError::read(label, error))?;
    Ok(size)
}

/// How it is compressed, as its first bytes tell.
pub(super) fn encoding(part: &Part, label: &str) -> Result<Encoding, LoadError> {
    Ok(Encoding::of(&part.head(HEAD).map_err(|error| LoadError::read(label, error))?))
}

/// What it holds, decompressed.
pub(super) fn decoded(part: &Part, label: &str) -> Result<Box<dyn Read>, LoadError> {
    decoder(part.clone(), &|_| ()).map_err(|error| LoadError::read(label, error))
}

/// What something is that cannot be loaded, as its first bytes tell.
pub(super) fn looks_like(part: &Part) -> &'static str {
    match part.head(HEAD).unwrap_or_default().as_slice() {
        [] => "empty",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz (`xz -d` makes of it what can be read)",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2 (`bzip2 -d` makes of it what can be read)",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'h', b's', b'q', b's', ..] => "a squashfs file system",
        _ => "no archive",
    }
}

/// Calls `take` with everything that `from` holds.
pub(super) fn pieces<E>(
    from: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
    failed: impl FnOnce(io::Error) -> E,
) -> Result<(), E> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
