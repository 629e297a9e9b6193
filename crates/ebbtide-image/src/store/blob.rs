//! A blob on its way into the store.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::lock::{Mode, is_linked};
use super::{Paths, lock};
use crate::error::Doing as _;
use crate::room::Room;
use crate::{Digest, ImageError, Limits};

/// How long another writer of the same blob may make no progress, and how long it may take in all.
const SILENCE: Duration = Duration::from_secs(60);
const IN_ALL: Duration = Duration::from_secs(3600);

/// Writes a blob. It is in the store once it is committed, and only if it is what its digest says.
///
/// Dropped without a commit, nothing of it stays. If the process dies, what it has written is gone on with by the next
/// writer.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: Option<u64>,
    most: u64,
    offset: u64,
    draft: PathBuf,
    place: PathBuf,
    /// `None` if the blob is in the store.
    file: Option<File>,
    hasher: Sha256,
    room: Room,
}

impl BlobWriter {
    pub(super) fn open(
        paths: &Paths,
        limits: &Limits,
        digest: Digest,
        size: Option<u64>,
        given_up: &AtomicBool,
    ) -> Result<Self, ImageError> {
        let most = limits.max_blob_bytes;
        let mut writer = Self {
            digest,
            size,
            most,
            offset: 0,
            draft: paths.tmp().join(format!("blob-{}", digest.hex())),
            place: paths.blob(&digest),
            file: None,
            hasher: Sha256::new(),
            room: Room::new(limits.min_free_bytes, paths.tmp()),
        };
        writer.bound(size.unwrap_or(0))?;
        loop {
            if let Ok(there) = fs::metadata(&writer.place) {
                writer.offset = there.len();
                return Ok(writer);
            }
            let mut options = File::options();
            let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let mut file = options.open(&writer.draft).doing("open", &writer.draft)?;
            let what = || format!("the blob {digest}");
            lock::lock(&file, &writer.draft, Mode::Exclusive, while_it_grows(given_up), what)?;
            if !is_linked(&file, &writer.draft) {
                // Whoever had it has committed or dropped it meanwhile.
                continue;
            }
            writer.resume(&mut file)?;
            writer.file = Some(file);
            return Ok(writer);
        }
    }

    /// Takes over what a dead writer has left.
    fn resume(&mut self, file: &mut File) -> Result<(), ImageError> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer).doing("read", &self.draft)?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
            self.offset += read as u64;
        }
        if self.size.is_some_and(|size| self.offset > size) || self.offset > self.most {
            self.restart(file)?;
        }
        Ok(())
    }

    fn restart(&mut self, file: &mut File) -> Result<(), ImageError> {
        use std::io::Seek as _;
        self.hasher = Sha256::new();
        self.offset = 0;
        file.set_len(0).and_then(|()| file.rewind()).doing("empty", &self.draft)
    }

    /// How much of the blob is there already: the next byte to write is the one after these.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the blob is in the store already, so that there is nothing to write.
    pub fn is_complete(&self) -> bool {
        self.file.is_none()
    }

    /// Begins again at the first byte, for a source that cannot begin elsewhere.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_over(&mut self) -> Result<(), ImageError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let result = self.restart(&mut file);
        self.file = Some(file);
        result
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When there are more than was said or than is allowed, the disk would be full, or the kernel refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let offset = self.offset.saturating_add(bytes.len() as u64);
        self.bound(offset)?;
        if let Some(size) = self.size.filter(|size| offset > *size) {
            return Err(ImageError::Size { digest: self.digest, expected: size, actual: offset });
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        self.room.take(0, bytes.len() as u64, &*file)?;
        self.hasher.update(bytes);
        file.write_all(bytes).doing("write", &self.draft)?;
        self.offset = offset;
        Ok(())
    }

    /// Puts the blob into the store.
    ///
    /// # Errors
    /// When it is not what its digest says; nothing of it stays then.
    pub fn commit(mut self) -> Result<(), ImageError> {
        if self.is_complete() {
            return Ok(());
        }
        if let Some(size) = self.size.filter(|size| *size != self.offset) {
            return Err(ImageError::Size { digest: self.digest, expected: size, actual: self.offset });
        }
        let actual = Digest::from_hasher(std::mem::take(&mut self.hasher));
        if actual != self.digest {
            return Err(ImageError::Mismatch { what: "the blob", expected: self.digest, actual });
        }
        fs::rename(&self.draft, &self.place).doing("make", &self.place)?;
        // Those who wait for its lock find that its name is gone, and the blob in the store.
        self.file = None;
        Ok(())
    }

    fn bound(&self, bytes: u64) -> Result<(), ImageError> {
        if bytes > self.most {
            let most = self.most;
            return Err(ImageError::TooLarge { what: "bytes of a layer", most, setting: "max_blob_bytes" });
        }
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.draft);
        }
    }
}

/// As long as the file becomes longer, within a bound, and somebody wants it.
fn while_it_grows(given_up: &AtomicBool) -> impl FnMut(&File) -> bool {
    let began = Instant::now();
    let (mut length, mut grown) = (0, began);
    move |file| {
        let now = file.metadata().map_or(0, |file| file.len());
        if now != length {
            (length, grown) = (now, Instant::now());
        }
        !given_up.load(Ordering::Relaxed) && grown.elapsed() < SILENCE && began.elapsed() < IN_ALL
    }
}
