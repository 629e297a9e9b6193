//! How a layer is compressed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// Large enough that reading costs no more than the bytes do.
const BUFFER: usize = 256 * 1024;
/// What zstd may remember of what it has unpacked: 128 MiB, as much as its own program takes unasked.
const MOST_WINDOW: u32 = 27;

/// How a layer is compressed. What it begins with says so; what others say of it is sometimes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// gzip, of one or more members.
    Gzip,
    /// zstd, of one or more frames.
    Zstd,
}

impl Encoding {
    /// The encoding of what begins with these bytes, four of them or more.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that is to be skipped and begins with one of sixteen numbers.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// The tar stream in `blob`; `progress` is told how many of the blob's bytes have been read.
pub(crate) fn decoder<'a>(
    blob: impl Read + 'a,
    progress: &'a (dyn Fn(u64) + Sync),
) -> io::Result<Box<dyn Read + 'a>> {
    let counted = Counted { from: blob, read: 0, progress };
    let mut blob = BufReader::with_capacity(BUFFER, counted);
    Ok(match Encoding::of(blob.fill_buf()?) {
        Encoding::Plain => Box::new(blob),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(blob)),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(blob)?;
            decoder.window_log_max(MOST_WINDOW)?;
            Box::new(decoder)
        }
    })
}

struct Counted<'a, R> {
    from: R,
    read: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        Ok(read)
    }
}
