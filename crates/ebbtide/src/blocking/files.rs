//! Files and directories of a sandbox in pieces, for callers that wait.

use std::future::Future;
use std::io::{self, Read, Write};

use ebbtide_proto::bytes::{Buf as _, Bytes};

use crate::{Error, engine};

/// The most bytes of one message.
const PIECE: usize = 256 << 10;

/// A file that is being read, as [`crate::FileReader`].
///
/// ```no_run
/// # fn example(sandbox: ebbtide::blocking::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
/// let mut file = sandbox.read_file_stream("/var/tmp/large")?;
/// std::io::copy(&mut file, &mut std::fs::File::create("large")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileReader {
    /// How many bytes will come.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    pieces: Pieces<crate::FileReader>,
}

impl FileReader {
    pub(crate) fn new(file: crate::FileReader) -> Self {
        Self { size: file.size, mode: file.mode, pieces: Pieces::of(file) }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(buffer)
    }
}

/// A directory that comes as a tar stream, as [`crate::ArchiveReader`].
///
/// ```no_run
/// # fn example(sandbox: ebbtide::blocking::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
/// let mut archive = sandbox.pack("/work/results")?;
/// std::io::copy(&mut archive, &mut std::fs::File::create("results.tar")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ArchiveReader {
    pieces: Pieces<crate::ArchiveReader>,
}

impl ArchiveReader {
    pub(crate) fn new(archive: crate::ArchiveReader) -> Self {
        Self { pieces: Pieces::of(archive) }
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(buffer)
    }
}

/// A file or a directory that is being written, as [`crate::Writer`]. A file is there once [`Writer::commit`] has returned; if this
/// is dropped before that, what was there stays as it was.
///
/// ```no_run
/// # fn example(sandbox: ebbtide::blocking::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
/// let mut file = sandbox.write_file_stream("/var/tmp/large", ebbtide::WriteOptions::default())?;
/// std::io::copy(&mut std::fs::File::open("large")?, &mut file)?;
/// file.commit()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer {
    /// Lent to the crate's own thread while it writes; gone after an error.
    inner: Option<crate::Writer>,
}

impl Writer {
    pub(crate) fn new(writer: crate::Writer) -> Self {
        Self { inner: Some(writer) }
    }

    /// As [`crate::Writer::commit`].
    ///
    /// # Errors
    /// The same; [`Error::InputClosed`] after a write that failed.
    pub fn commit(self) -> Result<(), Error> {
        let writer = self.inner.ok_or(Error::InputClosed)?;
        engine::block_on(writer.commit())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut writer = self.inner.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let fits = bytes.len().min(PIECE);
        let piece = bytes[..fits].to_vec();
        let write = async move { writer.write(piece).await.map(|()| writer) };
        self.inner = Some(engine::block_on(write).map_err(io::Error::other)?);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where pieces come from.
trait Source: Sized + Send + 'static {
    /// The next piece, and itself again; `None` after the last.
    fn piece(self) -> impl Future<Output = Result<Option<(Bytes, Self)>, Error>> + Send;
}

impl Source for crate::FileReader {
    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        Ok(self.next().await?.map(|piece| (piece, self)))
    }
}

impl Source for crate::ArchiveReader {
    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        Ok(self.next().await?.map(|piece| (piece, self)))
    }
}

/// Pieces as bytes.
#[derive(Debug)]
struct Pieces<S> {
    /// Lent to the crate's own thread while it reads; gone after the last piece and after an error.
    source: Option<S>,
    /// What was taken and did not fit the reader's buffer.
    rest: Bytes,
}

impl<S: Source> Pieces<S> {
    fn of(source: S) -> Self {
        Self { source: Some(source), rest: Bytes::new() }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty()
            && let Some(source) = self.source.take()
        {
            if let Some((piece, source)) = engine::block_on(source.piece()).map_err(io::Error::other)? {
                (self.rest, self.source) = (piece, Some(source));
            }
        }
        let fits = self.rest.len().min(buffer.len());
        buffer[..fits].copy_from_slice(&self.rest[..fits]);
        self.rest.advance(fits);
        Ok(fits)
    }
}
