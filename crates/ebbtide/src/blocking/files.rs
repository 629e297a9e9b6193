//! Files of a sandbox in pieces, for callers that wait.

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
    /// Lent to the crate's own thread while it reads; gone after an error.
    inner: Option<crate::FileReader>,
    rest: Bytes,
}

impl FileReader {
    pub(crate) fn new(file: crate::FileReader) -> Self {
        Self { size: file.size, mode: file.mode, inner: Some(file), rest: Bytes::new() }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty()
            && let Some(mut file) = self.inner.take()
        {
            let next = async move { file.next().await.map(|piece| piece.map(|piece| (piece, file))) };
            // After the last piece there is nothing to read from any more.
            if let Some((piece, file)) = engine::block_on(next).map_err(io::Error::other)? {
                (self.rest, self.inner) = (piece, Some(file));
            }
        }
        let fits = self.rest.len().min(buffer.len());
        buffer[..fits].copy_from_slice(&self.rest[..fits]);
        self.rest.advance(fits);
        Ok(fits)
    }
}

/// A file that is being written, as [`crate::Writer`]. It is there once [`FileWriter::commit`] has returned; if this
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
pub struct FileWriter {
    /// Lent to the crate's own thread while it writes; gone after an error.
    inner: Option<crate::Writer>,
}

impl FileWriter {
    pub(crate) fn new(file: crate::Writer) -> Self {
        Self { inner: Some(file) }
    }

    /// As [`crate::Writer::commit`].
    ///
    /// # Errors
    /// The same; [`Error::InputClosed`] after a write that failed.
    pub fn commit(self) -> Result<(), Error> {
        let file = self.inner.ok_or(Error::InputClosed)?;
        engine::block_on(file.commit())
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.inner.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let fits = bytes.len().min(PIECE);
        let piece = bytes[..fits].to_vec();
        let write = async move { file.write(piece).await.map(|()| file) };
        self.inner = Some(engine::block_on(write).map_err(io::Error::other)?);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
