//! Files of a simulated sandbox. Directories are there when a file is below them.

use std::io::Read;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::programs::{DIRECTORIES, FILES};
use super::sandbox::Sandbox;
use crate::{Content, DriverError, FileErrorKind, FileRead, Sink, WriteOptions};

/// How much comes at once.
const CHUNK: usize = 16 * 1024;
const NEW_FILE: u32 = 0o644;

/// The path without a slash at its end, from the root on.
fn absolute(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

fn is_directory(sandbox: &Sandbox, path: &str) -> bool {
    let below = format!("{}/", path.trim_end_matches('/'));
    DIRECTORIES.contains(&path) || sandbox.files().keys().any(|file| file.starts_with(&below))
}

/// Whether something on the way to `path` is a file.
fn leads_through_a_file(sandbox: &Sandbox, path: &str) -> bool {
    let is_file = |part: &str| FILES.contains(&part) || sandbox.files().contains_key(part);
    path.match_indices('/').any(|(at, _)| is_file(&path[..at]))
}

pub(super) fn open_read(sandbox: &Arc<Sandbox>, path: &str) -> Result<FileRead, DriverError> {
    sandbox.running()?;
    let file = absolute(path);
    let content = sandbox.files().get(&file).cloned();
    let Some(content) = content else {
        let kind = match () {
            () if leads_through_a_file(sandbox, &file) => FileErrorKind::NotDirectory,
            () if is_directory(sandbox, &file) => FileErrorKind::IsDirectory,
            () if file == "/dev/null" => FileErrorKind::NotRegular,
            () => FileErrorKind::NotFound,
        };
        return Err(kind.at(path).into());
    };
    let modes = sandbox.modes.lock().unwrap_or_else(PoisonError::into_inner);
    let mode = modes.get(&file).copied().unwrap_or(NEW_FILE);
    Ok(FileRead { size: content.len() as u64, mode, content: Box::new(Pieces { content, given: 0 }) })
}

struct Pieces {
    content: Vec<u8>,
    given: usize,
}

#[async_trait]
impl Content for Pieces {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        let end = self.content.len().min(self.given + CHUNK);
        let piece = self.content[self.given..end].to_vec();
        self.given = end;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

pub(super) fn open_write(
    sandbox: &Arc<Sandbox>,
    path: &str,
    options: WriteOptions,
) -> Result<Box<dyn Sink>, DriverError> {
    sandbox.running()?;
    let file = absolute(path);
    let mounted = sandbox.plan.files.iter().any(|mounted| mounted.path == file);
    let kind = match () {
        () if leads_through_a_file(sandbox, &file) => FileErrorKind::NotDirectory,
        () if path.ends_with('/') || is_directory(sandbox, &file) => FileErrorKind::IsDirectory,
        () if file == "/dev/null" => FileErrorKind::NotRegular,
        () if mounted => FileErrorKind::ReadOnly,
        () => {
            let target = Target::File { path: file, options };
            return Ok(Box::new(Gathering { sandbox: Arc::clone(sandbox), target, bytes: Vec::new() }));
        }
    };
    Err(kind.at(path).into())
}

pub(super) fn pack(sandbox: &Arc<Sandbox>, path: &str) -> Result<Box<dyn Content>, DriverError> {
    sandbox.running()?;
    let directory = absolute(path);
    if !is_directory(sandbox, &directory) {
        return Err(match open_read(sandbox, path) {
            Ok(_) => FileErrorKind::NotDirectory.at(path).into(),
            Err(error) => error,
        });
    }
    let below = format!("{}/", directory.trim_end_matches('/'));
    let mut archive = tar::Builder::new(Vec::new());
    for (file, content) in sandbox.files().iter() {
        let Some(name) = file.strip_prefix(&below) else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(NEW_FILE);
        let packed = archive.append_data(&mut header, name, content.as_slice());
        packed.map_err(|error| DriverError::io("pack a file", error))?;
    }
    let content = archive.into_inner().map_err(|error| DriverError::io("pack a directory", error))?;
    Ok(Box::new(Pieces { content, given: 0 }))
}

pub(super) fn unpack(sandbox: &Arc<Sandbox>, path: &str) -> Result<Box<dyn Sink>, DriverError> {
    sandbox.running()?;
    let directory = absolute(path);
    if sandbox.files().contains_key(&directory) || leads_through_a_file(sandbox, &directory) {
        return Err(FileErrorKind::NotDirectory.at(path).into());
    }
    let target = Target::Directory { path: directory };
    Ok(Box::new(Gathering { sandbox: Arc::clone(sandbox), target, bytes: Vec::new() }))
}

/// What becomes of the bytes.
enum Target {
    File { path: String, options: WriteOptions },
    Directory { path: String },
}

/// Bytes that wait for their commit.
struct Gathering {
    sandbox: Arc<Sandbox>,
    target: Target,
    bytes: Vec<u8>,
}

#[async_trait]
impl Sink for Gathering {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        self.sandbox.running()?;
        self.bytes.extend(bytes);
        Ok(())
    }

    async fn refused(&mut self) -> DriverError {
        let _ = self.sandbox.ended().await;
        DriverError::NotRunning(self.sandbox.plan.id.clone())
    }

    async fn commit(self: Box<Self>) -> Result<(), DriverError> {
        self.sandbox.running()?;
        match &self.target {
            Target::File { path, options } => {
                let found = self.bytes.len() as u64;
                if let Some(expected) = options.size.filter(|expected| *expected != found) {
                    return Err(FileErrorKind::Truncated { expected, found }.at(path).into());
                }
                if let Some(mode) = options.mode {
                    let mut modes = self.sandbox.modes.lock().unwrap_or_else(PoisonError::into_inner);
                    modes.insert(path.clone(), mode & 0o7777);
                }
                self.sandbox.files().insert(path.clone(), self.bytes);
                Ok(())
            }
            Target::Directory { path } => self
                .unpack_into(path)
                .map_err(|error| FileErrorKind::Archive(error.to_string()).at(path.clone()).into()),
        }
    }
}

impl Gathering {
    fn unpack_into(&self, directory: &str) -> std::io::Result<()> {
        let mut archive = tar::Archive::new(self.bytes.as_slice());
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let outside = name.starts_with('/') || name.split('/').any(|part| part == "..");
            if outside {
                return Err(std::io::Error::other(format!("{name:?} leads out of the directory")));
            }
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                let path = format!("{}/{name}", directory.trim_end_matches('/'));
                self.sandbox.files().insert(path, content);
            }
        }
        Ok(())
    }
}
