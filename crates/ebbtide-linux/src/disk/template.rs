//! A ready-made empty btrfs file system, so that nobody needs `mkfs.btrfs`.
//!
//! `assets/pool.btrfs.sparse` is the image that `mkfs.btrfs` made once (`cargo xtask pool-template`), as the few runs of bytes that are
//! not zero: 13 kB for 128 MiB. The pool is grown to its size after it is mounted.
//!
//! Every pool would then have the same file system id, and the kernel refuses to mount two of those at once. So each copy
//! gets an id of its own through the METADATA_UUID feature (Linux 5.0): the superblock names the new id and keeps the id that
//! is written in every tree block beside it. Only superblocks change, as with `btrfstune -m`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const ASSET: &[u8] = include_bytes!("../../assets/pool.btrfs.sparse");
const MAGIC: &[u8; 8] = b"EBBSPRS1";

/// Superblock copies; those beyond the end of the image do not exist, and the kernel writes them as the pool grows.
const SUPERBLOCKS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const SUPERBLOCK_SIZE: usize = 4096;
const CHECKSUM_SIZE: usize = 32;
const FSID: usize = 0x20;
const SUPERBLOCK_MAGIC: usize = 0x40;
const INCOMPAT_FLAGS: usize = 0xbc;
const METADATA_UUID: usize = 0x23b;
const INCOMPAT_METADATA_UUID: u64 = 1 << 10;
const UUID_SIZE: usize = 16;

/// Writes the empty file system with the id `fsid` into `file`, which must be empty.
pub(super) fn write(file: &File, fsid: &[u8; UUID_SIZE]) -> io::Result<()> {
    let image = Sparse::parse(ASSET).ok_or_else(damaged)?;
    file.set_len(image.size)?;
    for (offset, bytes) in image.runs {
        file.write_all_at(bytes, offset)?;
    }
    for offset in SUPERBLOCKS.into_iter().take_while(|offset| offset + (SUPERBLOCK_SIZE as u64) <= image.size)
    {
        let mut block = [0; SUPERBLOCK_SIZE];
        file.read_exact_at(&mut block, offset)?;
        rename(&mut block, fsid).ok_or_else(damaged)?;
        file.write_all_at(&block, offset)?;
    }
    Ok(())
}

/// Gives a superblock the id `fsid`; `None` when it is not one.
fn rename(block: &mut [u8; SUPERBLOCK_SIZE], fsid: &[u8; UUID_SIZE]) -> Option<()> {
    if block[SUPERBLOCK_MAGIC..SUPERBLOCK_MAGIC + 8] != *b"_BHRfS_M" {
        return None;
    }
    let flags = u64::from_le_bytes(block[INCOMPAT_FLAGS..INCOMPAT_FLAGS + 8].try_into().ok()?);
    block[INCOMPAT_FLAGS..INCOMPAT_FLAGS + 8]
        .copy_from_slice(&(flags | INCOMPAT_METADATA_UUID).to_le_bytes());
    block.copy_within(FSID..FSID + UUID_SIZE, METADATA_UUID);
    block[FSID..FSID + UUID_SIZE].copy_from_slice(fsid);
    let sum = crc32c(&block[CHECKSUM_SIZE..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// The runs of an image that are not zero: magic, size of the image, then offset, length and bytes of each run; numbers
/// are little endian, 8 bytes for the size and offsets, 4 for lengths.
struct Sparse<'a> {
    size: u64,
    runs: Vec<(u64, &'a [u8])>,
}

impl<'a> Sparse<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (size, mut rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let mut runs = Vec::new();
        while !rest.is_empty() {
            let (offset, tail) = rest.split_first_chunk::<8>()?;
            let (length, tail) = tail.split_first_chunk::<4>()?;
            let (run, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            runs.push((u64::from_le_bytes(*offset), run));
            rest = tail;
        }
        Some(Self { size: u64::from_le_bytes(*size), runs })
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the built-in file system image is damaged; build ebb again")
}

/// CRC-32C, bit by bit: two superblocks per pool do not deserve a table.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_asset_is_small_and_its_superblocks_have_right_checksums() {
        let image = Sparse::parse(ASSET).unwrap();
        assert!(ASSET.len() < 64 << 10);
        let file = tempfile::tempfile().unwrap();
        file.set_len(image.size).unwrap();
        for (offset, bytes) in image.runs {
            file.write_all_at(bytes, offset).unwrap();
        }
        for offset in [SUPERBLOCKS[0], SUPERBLOCKS[1]] {
            let mut block = [0; SUPERBLOCK_SIZE];
            file.read_exact_at(&mut block, offset).unwrap();
            assert_eq!(block[..4], crc32c(&block[CHECKSUM_SIZE..]).to_le_bytes());
        }
    }

    #[test]
    fn what_is_no_superblock_is_refused() {
        assert!(rename(&mut [0; SUPERBLOCK_SIZE], &[7; UUID_SIZE]).is_none());
    }
}
