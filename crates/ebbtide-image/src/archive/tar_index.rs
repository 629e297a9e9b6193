//! What is where in a tar archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::files::Part;

const BLOCK: u64 = 512;
/// The longest name of an entry.
const MAX_NAME: u64 = 4096;
/// The longest extended header.
const MAX_EXTENSION: u64 = 1 << 20;
/// How many entries are remembered. An archive of images has three or so for each layer; a root file system has more.
const MAX_ENTRIES: usize = 1 << 16;
/// How many links are followed, one from another: older Dockers save a layer once and link to it.
const MAX_LINKS: usize = 8;

/// Why something is no archive that can be read.
#[derive(Debug)]
pub(super) enum TarError {
    /// It begins as no archive does.
    NotTar,
    /// It begins as one, and then is none.
    Broken(String),
    /// The kernel refused.
    Io(io::Error),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the entries of an archive are.
#[derive(Debug)]
pub(super) struct TarIndex {
    file: Arc<File>,
    entries: HashMap<PathBuf, Place>,
    /// An entry that leads out of the archive.
    stray: Option<PathBuf>,
    /// How many entries there are, those that are not remembered too.
    count: u64,
}

#[derive(Debug)]
enum Place {
    File { at: u64, size: u64 },
    Link(PathBuf),
}

/// What was said of the next entry before it came.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl TarIndex {
    /// Goes through an archive from entry to entry.
    pub(super) fn read(file: Arc<File>) -> Result<Self, TarError> {
        let length = file.metadata()?.len();
        let mut index = Self { file, entries: HashMap::new(), stray: None, count: 0 };
        let mut said = Said::default();
        let mut at = 0;
        while let Some(header) = index.header(at, length)? {
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|error| TarError::Broken(error.to_string()))?;
            let mut start = at + BLOCK;
            if kind == EntryType::GNUSparse {
                start = index.after_sparse_map(&header, start, length)?;
            }
            let size = if is_prelude(kind) { size } else { said.size.unwrap_or(size) };
            at = size
                .checked_next_multiple_of(BLOCK)
                .and_then(|size| start.checked_add(size))
                .ok_or_else(|| TarError::Broken("an entry is larger than anything".to_owned()))?;
            if start.saturating_add(size) > length {
                return Err(TarError::Broken("it ends within an entry".to_owned()));
            }
            let content = |most| index.content(start, size, most);
            match kind {
                EntryType::GNULongName => said.path = Some(without_nul(content(MAX_NAME + 1)?)),
                EntryType::GNULongLink => said.link = Some(without_nul(content(MAX_NAME + 1)?)),
                EntryType::XHeader => said.extend(&content(MAX_EXTENSION)?)?,
                EntryType::XGlobalHeader => {}
                kind => {
                    let said = std::mem::take(&mut said);
                    let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = said.link.or_else(|| header.link_name_bytes().map(Into::into));
                    index.add(kind, &path, &link.unwrap_or_default(), start, size);
                }
            }
        }
        Ok(index)
    }

    /// The header of the next entry; `None` at the end.
    fn header(&self, at: u64, length: u64) -> Result<Option<Header>, TarError> {
        let broken = |text: &str| match at {
            0 => TarError::NotTar,
            _ => TarError::Broken(text.to_owned()),
        };
        if at >= length && at > 0 {
            return Ok(None);
        }
        if length - at < BLOCK {
            return Err(broken("it ends within a header"));
        }
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        self.file.read_exact_at(block, at)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The field of the sum itself counts as spaces.
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(broken("a header of an entry is damaged")),
        }
    }

    /// The map of a sparse file may go on behind its header.
    fn after_sparse_map(&self, header: &Header, mut at: u64, length: u64) -> Result<u64, TarError> {
        let mut more = header.as_bytes()[482] != 0;
        while more {
            if at + BLOCK > length {
                return Err(TarError::Broken("it ends within the map of a sparse file".to_owned()));
            }
            let mut block = [0; BLOCK as usize];
            self.file.read_exact_at(&mut block, at)?;
            more = block[504] != 0;
            at += BLOCK;
        }
        Ok(at)
    }

    fn content(&self, at: u64, size: u64, most: u64) -> Result<Vec<u8>, TarError> {
        if size > most {
            return Err(TarError::Broken("a name without end".to_owned()));
        }
        Ok(Part::new(Arc::clone(&self.file), at, size).whole()?)
    }

    fn add(&mut self, kind: EntryType, path: &[u8], link: &[u8], at: u64, size: u64) {
        self.count += 1;
        let path = Path::new(OsStr::from_bytes(path));
        let Some(place) = within(Path::new(""), path) else {
            self.stray.get_or_insert_with(|| path.to_owned());
            return;
        };
        let target = Path::new(OsStr::from_bytes(link));
        let from = match kind {
            EntryType::Symlink => place.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        let found = match kind {
            EntryType::Regular | EntryType::Continuous => Some(Place::File { at, size }),
            EntryType::Symlink | EntryType::Link => within(from, target).map(Place::Link),
            _ => None,
        };
        if let Some(found) = found
            && self.entries.len() < MAX_ENTRIES
        {
            self.entries.insert(place, found);
        }
    }

    /// The content of a regular file, also by way of links.
    pub(super) fn find(&self, path: &str) -> Option<Part> {
        let mut path = within(Path::new(""), Path::new(path))?;
        for _ in 0..MAX_LINKS {
            match self.entries.get(&path)? {
                Place::File { at, size } => return Some(Part::new(Arc::clone(&self.file), *at, *size)),
                Place::Link(target) => path.clone_from(target),
            }
        }
        None
    }

    /// The first entry that leads out of the archive.
    pub(super) fn stray(&self) -> Option<&Path> {
        self.stray.as_deref()
    }

    /// Whether there is no entry at all.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Said {
    fn extend(&mut self, records: &[u8]) -> Result<(), TarError> {
        let broken = || TarError::Broken("an extended header is damaged".to_owned());
        let mut rest = records;
        while !rest.is_empty() {
            // `LENGTH KEY=VALUE\n`; a value may hold anything, so only the length tells where it ends.
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
            let length: usize = number(&rest[..space]).ok_or_else(broken)?;
            let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(broken)?);
                }
                _ => {}
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// Whether it only says something of the entry after it.
fn is_prelude(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// A path from `from` on, as names alone; `None` if it leads out.
fn within(from: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = from.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                if !place.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(place)
}
