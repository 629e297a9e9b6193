//! The id of a home, which is part of the name of everything that its daemon makes.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::HomeError;

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LENGTH: usize = 8;

/// The id that is written there, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>, HomeError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(HomeError::io("read", path, error)),
    };
    let id = text.trim_end();
    if id.len() == LENGTH && id.bytes().all(|byte| LETTERS.contains(&byte)) {
        Ok(Some(id.to_owned()))
    } else {
        Err(HomeError::CorruptId { path: path.to_owned() })
    }
}

/// Writes a new id, or reads the one that another process wrote first.
pub(super) fn write(path: &Path) -> Result<String, HomeError> {
    let id = random().map_err(|error| HomeError::io("read", Path::new("/dev/urandom"), error))?;
    let draft = path.with_file_name(format!(".id.{id}"));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(format!("{id}\n").as_bytes()).and_then(|()| file.sync_all()));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(HomeError::io("write", &draft, error));
    }
    // Linked, not renamed over: the first one wins, and nobody ever sees half an id.
    match rustix::fs::renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(id),
        Err(error) => {
            let _ = fs::remove_file(&draft);
            match read(path)? {
                Some(id) => Ok(id),
                None => Err(HomeError::io("write", path, error)),
            }
        }
    }
}

fn random() -> io::Result<String> {
    let mut bytes = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}
