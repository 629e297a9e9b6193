//! From the network to the disk: a thread that writes, and at most a few pieces on the way to it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::error::PullProblem;
use super::manifest::Blob;
use crate::{ImageError, Ingest};

/// Pieces that are read ahead of the disk; past that, the registry waits.
const AHEAD: usize = 8;

enum Piece {
    Bytes(Bytes),
    /// That was all, and it is to stay.
    End,
}

/// A blob that is being written. Nothing of it stays unless it is ended by [`Sink::commit`].
pub(super) struct Sink {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Result<(), ImageError>>,
    position: u64,
}

impl Sink {
    /// Begins, or goes on where a process that died had stopped; `None` if the blob is there, maybe by now.
    pub(super) async fn open(
        ingest: &Arc<Ingest>,
        blob: &Blob,
        jobs: &TaskTracker,
    ) -> Result<Option<Self>, PullProblem> {
        let (opened, offset) = oneshot::channel();
        let (pieces, mut arriving) = mpsc::channel(AHEAD);
        let (ingest, blob) = (Arc::clone(ingest), blob.clone());
        let thread = jobs.spawn_blocking(move || {
            let mut writer = ingest.blob(&blob.digest, Some(blob.size))?;
            // Another process may have been at it until now.
            if writer.is_complete() {
                return Ok(());
            }
            if opened.send(writer.offset()).is_err() {
                return Ok(());
            }
            while let Some(piece) = arriving.blocking_recv() {
                match piece {
                    Piece::Bytes(bytes) => writer.write(&bytes)?,
                    Piece::End => return writer.commit(),
                }
            }
            Ok(())
        });
        match offset.await {
            Ok(position) => Ok(Some(Self { pieces, thread, position })),
            Err(_) => ended(thread).await.map(|()| None),
        }
    }

    /// How much of the blob there is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Adds to it.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), PullProblem> {
        self.position += bytes.len() as u64;
        if self.pieces.send(Piece::Bytes(bytes)).await.is_ok() {
            return Ok(());
        }
        ended(&mut self.thread).await?;
        Err(PullProblem::GivenUp)
    }

    /// Ends it: checked against its digest, and there for good.
    pub(super) async fn commit(self) -> Result<(), PullProblem> {
        // One that has stopped says why below.
        let _ = self.pieces.send(Piece::End).await;
        ended(self.thread).await
    }
}

async fn ended(
    thread: impl Future<Output = Result<Result<(), ImageError>, tokio::task::JoinError>>,
) -> Result<(), PullProblem> {
    match thread.await {
        Ok(ended) => Ok(ended?),
        // The runtime is going.
        Err(_) => Err(PullProblem::GivenUp),
    }
}
