//! A tar stream as entries, one after the other.
//!
//! The `tar` crate reads the fields of a header. Going from one to the next is done here, since its own way keeps long
//! names and maps in memory whatever their size, and does not say when the stream has more bytes than a bound.

use std::io::{self, BufRead};

use rustix::fs::Timespec;
use tar::{EntryType, Header};

use super::pax::{Said, malformed};
use super::sparse::Sparse;
use crate::ImageError;

const BLOCK: u64 = 512;
/// An extended header: some attributes of 64 KiB, which is the kernel's bound for one.
const MOST_EXTENSIONS: u64 = 1 << 20;
/// Bytes after the end of an archive: some writers pad their last record, none by more than this.
const MOST_TRAILING: u64 = 64 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Device,
}

/// An entry, as the archive has it: nothing of it is checked but its form.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Timespec,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many bytes follow in the stream.
    pub(super) stored: u64,
    pub(super) sparse: Option<Sparse>,
    /// How many bytes of the stream have told all this.
    pub(super) told_in: u64,
}

impl Entry {
    /// How long the file is.
    pub(super) fn size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.stored, |sparse| sparse.size)
    }
}

/// The stream that entries are read from.
pub(super) struct Source<R> {
    from: R,
    /// How many bytes have been taken from it.
    taken: u64,
}

impl<R: BufRead> Source<R> {
    /// Bytes of the stream, as many as are at hand and `most` at most; none at its end.
    fn some(&mut self, most: u64) -> Result<&[u8], ImageError> {
        let there = self.from.fill_buf().map_err(|error| broken(&error))?;
        Ok(&there[..there.len().min(usize::try_from(most).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, bytes: usize) {
        self.from.consume(bytes);
        self.taken += bytes as u64;
    }

    /// Fills `bytes`.
    pub(super) fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), ImageError> {
        self.taken += bytes.len() as u64;
        self.from.read_exact(bytes).map_err(|error| broken(&error))
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), ImageError> {
        while bytes > 0 {
            let skipped = self.some(bytes)?.len();
            if skipped == 0 {
                return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
            }
            self.consume(skipped);
            bytes -= skipped as u64;
        }
        Ok(())
    }
}

/// The stream is not what it should be, or cannot be read.
fn broken(error: &io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("it ends too early"),
        _ => ImageError::malformed("the layer", format!("it cannot be decompressed or read: {error}")),
    }
}

/// The entries of a stream.
pub(super) struct Entries<R> {
    source: Source<R>,
    /// Bytes of the current entry's content that have not been taken, and the padding after them.
    left: u64,
    padding: u64,
}

impl<R: BufRead> Entries<R> {
    pub(super) fn new(from: R) -> Self {
        Self { source: Source { from, taken: 0 }, left: 0, padding: 0 }
    }

    /// The next entry; `None` after the last one, with the stream read to its end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ImageError> {
        let mut said = Said::default();
        let begin = self.source.taken;
        // An entry has one of each kind before it; more are tolerated as others do, but not without end.
        for _ in 0..16 {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::GNULongName => said.path = Some(self.long_name()?),
                EntryType::GNULongLink => said.link = Some(self.long_name()?),
                EntryType::XHeader => {
                    let records = self.all(MOST_EXTENSIONS)?;
                    said.take(&records)?;
                }
                EntryType::XGlobalHeader => drop(self.all(MOST_EXTENSIONS)?),
                kind => {
                    let mut entry = self.entry(&header, kind, said)?;
                    entry.told_in = self.source.taken - begin;
                    return Ok(Some(entry));
                }
            }
        }
        Err(malformed("an entry has too many headers"))
    }

    /// Bytes of the entry's content, as many as are at hand; none at its end.
    pub(super) fn content(&mut self) -> Result<&[u8], ImageError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let some = self.source.some(self.left)?;
        if some.is_empty() {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(some)
    }

    /// Bytes of the content have been used.
    pub(super) fn used(&mut self, bytes: usize) {
        self.source.consume(bytes);
        self.left -= bytes as u64;
    }

    /// The stream, for what it says besides.
    pub(super) fn into_inner(self) -> R {
        self.source.from
    }

    /// The next header, with its content ahead; `None` after the end.
    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        self.source.skip(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        // A stream may end without saying so: others take that.
        if self.source.some(1)?.is_empty() {
            return Ok(None);
        }
        let mut header = Header::new_old();
        self.source.exactly(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            self.trailing()?;
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // Its own field counts as spaces.
        let actual = sum(bytes) - sum(&bytes[148..156]) + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(actual) {
            return Err(malformed("a header's checksum is wrong, or it is no tar stream at all"));
        }
        let size = number(&header.as_old().size, || header.entry_size())?;
        self.begin(size)?;
        Ok(Some(header))
    }

    /// Content of `size` bytes is ahead.
    fn begin(&mut self, size: u64) -> Result<(), ImageError> {
        self.padding = size.wrapping_neg() % BLOCK;
        self.left = size;
        size.checked_add(BLOCK).map(drop).ok_or_else(|| malformed("an entry's size is too large"))
    }

    fn trailing(&mut self) -> Result<(), ImageError> {
        let mut trailing = 0;
        loop {
            let some = self.source.some(u64::MAX)?.len();
            if some == 0 {
                return Ok(());
            }
            trailing += some as u64;
            if trailing > MOST_TRAILING {
                return Err(malformed("it goes on long after its end"));
            }
            self.source.consume(some);
        }
    }

    /// All of the content.
    fn all(&mut self, most: u64) -> Result<Vec<u8>, ImageError> {
        if self.left > most {
            return Err(malformed("a name or an extended header is too long"));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(0)];
        self.source.exactly(&mut bytes)?;
        self.left = 0;
        Ok(bytes)
    }

    fn long_name(&mut self) -> Result<Vec<u8>, ImageError> {
        let mut name = self.all(MOST_EXTENSIONS)?;
        // It ends with a NUL; what others write after it is not part of it.
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, kind: EntryType, said: Said) -> Result<Entry, ImageError> {
        let old = header.as_old();
        if let Some(size) = said.size {
            self.begin(size)?;
        }
        let stored = self.left;
        let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let mut sparse = None;
        let kind = match kind {
            EntryType::GNUSparse => {
                sparse = Some(Sparse::gnu(header, stored, &mut self.source)?);
                Kind::Regular
            }
            // Very old archives have no other mark of a directory.
            EntryType::Regular if path.last() == Some(&b'/') && stored == 0 => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::Regular,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => Kind::Device,
            _ => return Err(malformed("an entry is of a kind that is not known")),
        };
        if kind != Kind::Regular {
            // Nothing follows these, whatever size their header tells: so it is read everywhere.
            self.begin(0)?;
        }
        let mut path = path;
        if kind == Kind::Regular && sparse.is_none() {
            if said.sparse.in_content {
                let size = said.sparse.size.ok_or_else(|| malformed("a sparse file has no size"))?;
                let (map, taken) = Sparse::in_content(stored, size, &mut self.source)?;
                self.left -= taken;
                sparse = Some(map);
            } else if let Some(pieces) = said.sparse.pieces {
                let size = said.sparse.size.ok_or_else(|| malformed("a sparse file has no size"))?;
                sparse = Some(Sparse::new(pieces, stored, size)?);
            }
            if sparse.is_some() {
                path = said.sparse.path.unwrap_or(path);
            }
        }
        let link = said.link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
        let mtime = match said.mtime {
            Some(mtime) => mtime,
            None => Timespec { tv_sec: number(&old.mtime, || header.mtime())?.cast_signed(), tv_nsec: 0 },
        };
        let id = |said: Option<u64>, field: &[u8], read: &dyn Fn() -> io::Result<u64>| {
            said.map_or_else(|| number(field, read), Ok)
        };
        Ok(Entry {
            kind,
            path,
            link,
            mode: u32::try_from(number(&old.mode, || header.mode().map(u64::from))? & 0o7777).unwrap_or(0),
            uid: id(said.uid, &old.uid, &|| header.uid())?,
            gid: id(said.gid, &old.gid, &|| header.gid())?,
            mtime,
            xattrs: said.xattrs,
            stored: self.left,
            sparse,
            told_in: 0,
        })
    }
}

/// A number of a header; an empty field is zero.
fn number(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> Result<u64, ImageError> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    read().map_err(|_| malformed("a number in a header is none"))
}
