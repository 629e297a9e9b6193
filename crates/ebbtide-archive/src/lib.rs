//! Directories as tar streams, on either side of a sandbox's wall: the helper inside it and the command line outside use
//! the same code.
//!
//! Neither side trusts the other. What is packed may change under the packer's hands, so every step goes by descriptor
//! and follows no symbolic link. What is unpacked may have been written by an enemy, so every entry is checked here, and
//! the kernel is told to let no path out of the destination. The `tar` crate reads and writes the blocks, and no more:
//! its own handling of long names keeps them in memory whatever their length, and its unpacking works by path.

mod attributes;
mod error;
mod pack;
mod unpack;

pub use error::ArchiveError;
pub use pack::{pack, pack_root};
pub use unpack::{Unpacked, unpack};

/// The longest path of an entry, and the longest target of a link; as long as the kernel takes.
const MAX_PATH: usize = 4096;
