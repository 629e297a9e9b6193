//! Files with one fault.

use async_trait::async_trait;
use ebbtide_driver::fake::FakeDriver;
use ebbtide_driver::{Content, Driver, DriverError, FileErrorKind, FileRead, Sink, WriteOptions};
use ebbtide_model::SandboxId;

use crate::fault::Fault;

pub(crate) async fn open_read(
    inner: &FakeDriver,
    fault: Fault,
    id: &SandboxId,
    path: &str,
) -> Result<FileRead, DriverError> {
    match (inner.open_read(id, path).await, fault) {
        (Err(DriverError::File(_)), Fault::NoFileIsUntyped) => {
            Err(DriverError::io("read", std::io::ErrorKind::NotFound))
        }
        (Err(DriverError::NotRunning(_)), Fault::FilesAfterTheEndAreUntyped) => {
            Err(DriverError::Unavailable("it is over".to_owned()))
        }
        (Ok(mut read), _) => {
            read.content = Box::new(FaultyContent { inner: read.content, fault, pieces: 0 });
            Ok(read)
        }
        (answer, _) => answer,
    }
}

struct FaultyContent {
    inner: Box<dyn Content>,
    fault: Fault,
    pieces: usize,
}

#[async_trait]
impl Content for FaultyContent {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        self.pieces += 1;
        let mut piece = self.inner.next().await?;
        if let (Fault::FileByteChanged, 7, Some(piece)) = (self.fault, self.pieces, &mut piece) {
            piece[0] ^= 1;
        }
        Ok(piece)
    }
}

pub(crate) async fn open_write(
    inner: &FakeDriver,
    fault: Fault,
    id: &SandboxId,
    path: &str,
    mut options: WriteOptions,
) -> Result<Box<dyn Sink>, DriverError> {
    match fault {
        Fault::ModeLost => options.mode = Some(options.mode.unwrap_or(0o644)),
        Fault::AnnouncedSizeIgnored => options.size = None,
        _ => {}
    }
    let sink = match (inner.open_write(id, path, options).await, fault) {
        (Err(DriverError::File(error)), Fault::MountedFileWritable)
            if error.kind == FileErrorKind::ReadOnly =>
        {
            inner.open_write(id, "/tmp/elsewhere", options).await
        }
        (answer, _) => answer,
    }?;
    if fault == Fault::DroppedWriteCommits {
        // Put in place as it comes.
        inner.open_write(id, path, WriteOptions::default()).await?.commit().await?;
    }
    Ok(Box::new(FaultySink { inner: sink, fault }))
}

pub(crate) async fn unpack(
    inner: &FakeDriver,
    fault: Fault,
    id: &SandboxId,
    path: &str,
) -> Result<Box<dyn Sink>, DriverError> {
    Ok(Box::new(FaultySink { inner: inner.unpack(id, path).await?, fault }))
}

struct FaultySink {
    inner: Box<dyn Sink>,
    fault: Fault,
}

#[async_trait]
impl Sink for FaultySink {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        self.inner.write(bytes).await
    }

    async fn refused(&mut self) -> DriverError {
        match self.fault {
            Fault::EndOfAWriteUnheard => std::future::pending().await,
            _ => self.inner.refused().await,
        }
    }

    async fn commit(self: Box<Self>) -> Result<(), DriverError> {
        match self.fault {
            Fault::CommitForgotten | Fault::UnpackForgotten => Ok(()),
            _ => self.inner.commit().await,
        }
    }
}
