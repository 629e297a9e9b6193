//! From here into a sandbox.

use std::fs::{File, Metadata};
use std::io::{BufWriter, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ebbtide::proto::bytes::Bytes;
use ebbtide::{Client, Error, WriteOptions, Writer};
use tokio::io::AsyncReadExt as _;

use super::ends::{End, below, name};
use super::{Copied, IS_DIRECTORY, Skipped, pieces, reason};
use crate::failure::Failure;
use crate::progress::Progress;

/// How much goes at once.
const PIECE: usize = 256 * 1024;

pub(super) async fn upload(
    client: &Client,
    id: &str,
    from: &End,
    to: &str,
    progress: &Progress,
) -> Result<Copied, Failure> {
    let End::Local(from) = from else { return standard_input(client, id, to, progress).await };
    let failed = |error| Failure::io(format!("read {from:?}"), error);
    let metadata = std::fs::metadata(from).map_err(failed)?;
    let into = to.ends_with('/') || is_directory(client, id, to).await?;
    let to = match name(from) {
        Some(name) if into => below(to, name),
        _ => to.to_owned(),
    };
    if metadata.is_dir() {
        directory(client, id, from, to, progress).await
    } else if metadata.is_file() {
        file(client, id, from, &metadata, to, progress).await
    } else {
        Err(Failure::NotCopied { path: from.clone() })
    }
}

/// Whether something can be put into it. What is no directory, or not there, is told by the copy itself.
async fn is_directory(client: &Client, id: &str, path: &str) -> Result<bool, Error> {
    match client.read_file_stream(id, path).await {
        Ok(_) => Ok(false),
        Err(error) if reason(&error) == IS_DIRECTORY => Ok(true),
        Err(error) if reason(&error).starts_with("CWSANDBOX_FILE_") => Ok(false),
        Err(error) => Err(error),
    }
}

async fn file(
    client: &Client,
    id: &str,
    from: &Path,
    metadata: &Metadata,
    to: String,
    progress: &Progress,
) -> Result<Copied, Failure> {
    let failed = |error| Failure::io(format!("read {from:?}"), error);
    let size = metadata.len();
    progress.expect(size);
    let options = WriteOptions { mode: Some(metadata.permissions().mode() & 0o777), size: Some(size) };
    let mut source = File::open(from).map_err(failed)?.take(size);
    let mut writer = client.write_file_stream(id, &to, options).await?;
    let mut buffer = vec![0; PIECE];
    loop {
        match source.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => send(&mut writer, Bytes::copy_from_slice(&buffer[..read]), progress).await?,
        }
    }
    writer.commit().await?;
    Ok(Copied { to, directory: false, bytes: progress.bytes(), skipped: Skipped::default() })
}

async fn standard_input(client: &Client, id: &str, to: &str, progress: &Progress) -> Result<Copied, Failure> {
    let mut writer = client.write_file_stream(id, to, WriteOptions::default()).await?;
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIECE];
    loop {
        // Whoever writes to us may take for ever; that the daemon is gone should show before.
        let read = tokio::select! {
            read = stdin.read(&mut buffer) => read,
            error = writer.refused() => return Err(error.into()),
        };
        match read.map_err(|error| Failure::io("read standard input", error))? {
            0 => break,
            read => send(&mut writer, Bytes::copy_from_slice(&buffer[..read]), progress).await?,
        }
    }
    writer.commit().await?;
    Ok(Copied { to: to.to_owned(), directory: false, bytes: progress.bytes(), skipped: Skipped::default() })
}

async fn directory(
    client: &Client,
    id: &str,
    from: &Path,
    to: String,
    progress: &Progress,
) -> Result<Copied, Failure> {
    let root = File::open(from).map_err(|error| Failure::io(format!("read {from:?}"), error))?;
    let mut writer = client.unpack(id, &to).await?;
    let (outlet, mut pieces) = pieces::outlet();
    let packing = tokio::task::spawn_blocking(move || {
        ebbtide_archive::pack(root, BufWriter::with_capacity(PIECE, outlet))
    });
    while let Some(piece) = pieces.recv().await {
        send(&mut writer, piece, progress).await?;
    }
    // Without the commit nobody takes what has come for all of it.
    packing.await.map_err(|error| Failure::io("pack the directory", std::io::Error::other(error)))??;
    writer.commit().await?;
    Ok(Copied { to, directory: true, bytes: progress.bytes(), skipped: Skipped::default() })
}

async fn send(writer: &mut Writer, piece: Bytes, progress: &Progress) -> Result<(), Error> {
    let length = piece.len();
    writer.write(piece).await?;
    progress.add(length as u64);
    Ok(())
}
