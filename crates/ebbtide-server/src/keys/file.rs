//! The keys of a home: a file that `ebb key` writes and the daemon reads.
//!
//! A file of its own, not the ledger: a key has to be made before the first daemon that listens can start, and the
//! keys outlive a ledger that had to be moved away. It is replaced as a whole, so a reader sees either all of a
//! change or nothing of it, and looks at it anew only when it is another file than before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ebbtide_model::{Invalid, Principal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::secret::{self, Digest};
use crate::{HomeFile, HomeFileError};

const VERSION: u32 = 1;
const MAX_KEYS: usize = 10_000;
const MAX_NAME_BYTES: usize = 128;

/// Why the keys could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read or replaced.
    #[error(transparent)]
    File(#[from] HomeFileError),
    /// The file does not hold keys.
    #[error("{}: not a file of keys ({detail}); move it away and make new keys (ebb key create)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A later version wrote the file.
    #[error("{}: written by a newer version of Ebbtide; use that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// There are too many.
    #[error("there are {MAX_KEYS} keys; revoke some that are not used (ebb key list)")]
    Full,
    /// No key has this id.
    #[error("no key has the id {id:?}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// A name is none.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The kernel has no random numbers.
    #[error("cannot make a random key: {0}")]
    Random(#[from] getrandom::Error),
}

/// A key as it is kept: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Names the key; a part of it.
    pub id: String,
    /// The organisation that it speaks for.
    pub organization: String,
    /// What it is for, in words. May be empty.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    sha256: String,
}

/// A key that has just been made, the only time that its secret is known.
#[derive(Debug)]
pub struct NewKey {
    /// What is kept.
    pub record: KeyRecord,
    /// The key.
    pub secret: String,
}

/// One key of the file, ready to compare with.
#[derive(Debug, Clone)]
pub(super) struct KnownKey {
    pub(super) digest: Digest,
    pub(super) principal: Principal,
}

pub(super) type KnownKeys = BTreeMap<String, KnownKey>;

/// Tells one version of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([i64; 6]);

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
        Self([
            number(metadata.ino()),
            number(metadata.size()),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ])
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    keys: Vec<KeyRecord>,
}

/// The file with a home's keys.
#[derive(Debug, Clone)]
pub struct KeyFile {
    file: HomeFile,
}

impl KeyFile {
    /// The file at `path`, which need not be there. Its directory must be, and closed to others.
    pub fn new(path: PathBuf) -> Self {
        Self { file: HomeFile::new(path) }
    }

    /// The keys, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        Ok(self.content()?.1)
    }

    /// Makes a key for an organisation.
    ///
    /// # Errors
    /// When a name is out of range or the file cannot be changed.
    pub fn create(&self, organization: &str, name: &str) -> Result<NewKey, KeyError> {
        Principal::organisation(organization)?;
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let accepted = format!("at most {MAX_NAME_BYTES} bytes without control characters");
            return Err(Invalid::new("name", "is not a name", accepted).into());
        }
        self.change(|keys| {
            if keys.len() >= MAX_KEYS {
                return Err(KeyError::Full);
            }
            let mut id = secret::new_id()?;
            while keys.iter().any(|key| key.id == id) {
                id = secret::new_id()?;
            }
            let secret = secret::new_key(&id)?;
            let record = KeyRecord {
                id,
                organization: organization.to_owned(),
                name: name.to_owned(),
                created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                sha256: Digest::of(&secret).to_hex(),
            };
            keys.push(record.clone());
            Ok(NewKey { record, secret })
        })
    }

    /// Forgets a key: from the next request on it is not known.
    ///
    /// # Errors
    /// When there is none with this id or the file cannot be changed.
    pub fn revoke(&self, id: &str) -> Result<KeyRecord, KeyError> {
        self.change(|keys| {
            let at = keys.iter().position(|key| key.id == id);
            at.map(|at| keys.remove(at)).ok_or_else(|| KeyError::NotFound { id: id.to_owned() })
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Which version of the file is there now; `None` for none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        std::fs::metadata(self.file.path()).ok().as_ref().map(Stamp::of)
    }

    /// The keys by id, and the version of the file that they are from.
    pub(super) fn read(&self) -> Result<(Option<Stamp>, KnownKeys), KeyError> {
        let (stamp, records) = self.content()?;
        let known = records.into_iter().map(|record| {
            let principal = Principal::organisation(&record.organization)
                .map_err(|refused| self.damaged(&refused.to_string()))?;
            let digest = Digest::from_hex(&record.sha256).ok_or_else(|| self.damaged("a digest is none"))?;
            Ok((record.id, KnownKey { digest, principal }))
        });
        Ok((stamp, known.collect::<Result<_, KeyError>>()?))
    }

    fn content(&self) -> Result<(Option<Stamp>, Vec<KeyRecord>), KeyError> {
        let mut file = match File::open(self.file.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
            Err(error) => return Err(self.file.io("read", error).into()),
        };
        // Of the open file, so that it belongs to what is read.
        let stamp = file.metadata().map_err(|error| self.file.io("look at", error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.file.io("read", error))?;
        let content: Content =
            serde_json::from_str(&text).map_err(|error| self.damaged(&error.to_string()))?;
        if content.version > VERSION {
            return Err(KeyError::Newer { path: self.file.path().to_owned() });
        }
        Ok((Some(Stamp::of(&stamp)), content.keys))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let turn = self.file.take_turn()?;
        let mut keys = self.list()?;
        let changed = change(&mut keys)?;
        let content = Content { version: VERSION, keys };
        let mut text = serde_json::to_vec_pretty(&content).map_err(|error| self.file.io("write", error))?;
        text.push(b'\n');
        self.file.replace(&turn, &text)?;
        Ok(changed)
    }

    fn damaged(&self, detail: &str) -> KeyError {
        KeyError::Damaged { path: self.file.path().to_owned(), detail: detail.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file() -> (tempfile::TempDir, KeyFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"));
        (dir, file)
    }

    #[test]
    fn the_secret_is_nowhere_in_the_file_and_nobody_else_can_read_it() {
        let (dir, file) = file();
        let key = file.create("one", "for ci").unwrap();
        let path = dir.path().join("keys.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = key.secret.rsplit('_').next().unwrap();
        assert!(text.contains(&key.record.id) && !text.contains(secret), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a draft is left");
    }

    #[test]
    fn many_writers_lose_no_key() {
        let (_dir, file) = file();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| file.create("one", "").unwrap());
            }
        });
        let keys = file.list().unwrap();
        assert_eq!(keys.len(), 16);
        file.revoke(&keys[3].id).unwrap();
        assert!(matches!(file.revoke(&keys[3].id), Err(KeyError::NotFound { .. })));
        assert_eq!(file.list().unwrap().len(), 15);
    }

    #[test]
    fn names_that_would_spoil_a_list_are_refused() {
        let (_dir, file) = file();
        for (organization, name) in [("", ""), ("a b", ""), ("a", "line\nbreak"), ("a", &"x".repeat(129))] {
            assert!(matches!(file.create(organization, name), Err(KeyError::Invalid(_))));
        }
        assert!(file.list().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_or_newer_file_is_never_overwritten() {
        let (dir, file) = file();
        let path = dir.path().join("keys.json");
        for (text, newer) in [("", false), ("{\"version\": 2, \"keys\": []}", true)] {
            std::fs::write(&path, text).unwrap();
            let refused = file.create("one", "").unwrap_err();
            assert_eq!(matches!(refused, KeyError::Newer { .. }), newer, "{refused}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
