//! Out of a sandbox. What comes from there is taken for an enemy's: a file gets the name that it was asked for, and a
//! directory is unpacked with every entry held to its place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ebbtide::{Client, FileReader};
use tempfile::NamedTempFile;

use super::ends::{End, name};
use super::{Copied, IS_DIRECTORY, Skipped, pieces, reason};
use crate::failure::Failure;
use crate::progress::Progress;

pub(super) async fn download(
    client: &Client,
    id: &str,
    from: &str,
    to: &End,
    progress: &Progress,
) -> Result<Copied, Failure> {
    let opened = client.read_file_stream(id, from).await;
    match (opened, to) {
        (Ok(reader), End::Local(to)) => file(reader, from, to, progress).await,
        (Ok(mut reader), _) => {
            progress.expect(reader.size);
            write_all(&mut reader, &mut io::stdout(), progress)
                .await?
                .map_err(|error| Failure::io("write to standard output", error))?;
            let bytes = progress.bytes();
            Ok(Copied { to: "-".to_owned(), directory: false, bytes, skipped: Skipped::default() })
        }
        (Err(error), End::Local(to)) if reason(&error) == IS_DIRECTORY => {
            directory(client, id, from, to, progress).await
        }
        (Err(error), _) => Err(error.into()),
    }
}

async fn file(mut reader: FileReader, from: &str, to: &Path, progress: &Progress) -> Result<Copied, Failure> {
    let to = match name(Path::new(from)) {
        Some(name) if to.is_dir() => to.join(name),
        _ => to.to_owned(),
    };
    let failed = |error| Failure::io(format!("write {to:?}"), error);
    progress.expect(reader.size);
    match fs::metadata(&to) {
        // A device or a pipe takes it as it comes. Never to be replaced.
        Ok(there) if !there.is_file() => {
            let mut file = OpenOptions::new().write(true).open(&to).map_err(failed)?;
            write_all(&mut reader, &mut file, progress).await?.map_err(failed)?;
        }
        there => {
            // Where a link leads to a file, it is that one that is meant.
            let place = if there.is_ok() { fs::canonicalize(&to).map_err(failed)? } else { to.clone() };
            let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            // Removed when it is dropped, and so when a signal ends the copy.
            let mut draft = NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(failed)?;
            write_all(&mut reader, draft.as_file_mut(), progress).await?.map_err(failed)?;
            let mode = Permissions::from_mode(reader.mode & 0o777);
            draft.as_file().set_permissions(mode).map_err(failed)?;
            draft.persist(&place).map_err(|error| failed(error.error))?;
        }
    }
    let (to, bytes) = (to.display().to_string(), progress.bytes());
    Ok(Copied { to, directory: false, bytes, skipped: Skipped::default() })
}

/// Writes all of it; the inner error is of this side.
async fn write_all(
    reader: &mut FileReader,
    to: &mut impl Write,
    progress: &Progress,
) -> Result<io::Result<()>, ebbtide::Error> {
    while let Some(piece) = reader.next().await? {
        if let Err(error) = to.write_all(&piece) {
            return Ok(Err(error));
        }
        progress.add(piece.len() as u64);
    }
    Ok(to.flush())
}

async fn directory(
    client: &Client,
    id: &str,
    from: &str,
    to: &Path,
    progress: &Progress,
) -> Result<Copied, Failure> {
    let to: PathBuf = match name(Path::new(from)) {
        Some(name) if to.is_dir() => to.join(name),
        _ => to.to_owned(),
    };
    let mut reader = client.pack(id, from).await?;
    let failed = |error| Failure::io(format!("make the directory {to:?}"), error);
    match fs::create_dir(&to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let root = File::open(&to).map_err(failed)?;
    let (sender, inlet) = pieces::inlet();
    let unpacking = tokio::task::spawn_blocking(move || ebbtide_archive::unpack(root, inlet));
    let cut_off = loop {
        match reader.next().await {
            Ok(Some(piece)) => {
                let length = piece.len();
                if sender.send(piece).await.is_err() {
                    // It has ended early, and says why.
                    break None;
                }
                progress.add(length as u64);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let unpacked = unpacking.await;
    if let Some(error) = cut_off {
        return Err(error.into());
    }
    let unpacked =
        unpacked.map_err(|error| Failure::io("unpack the directory", io::Error::other(error)))??;
    let skipped = Skipped { count: unpacked.skipped, some: unpacked.skipped_paths };
    Ok(Copied { to: to.display().to_string(), directory: true, bytes: progress.bytes(), skipped })
}
