//! Files and directories of a sandbox: whole ones that fit into memory, and streams for all others.
//!
//! Streams are bounded in both directions: a caller that does not read stops the sandbox, a sandbox that does not keep
//! up stops the caller.

use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::ebbtide::v1 as own;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Client, Error};

/// How many pieces may wait for the connection.
const QUEUE: usize = 4;
/// How much of a file that is at hand goes into one piece.
const PIECE: usize = 256 * 1024;

/// How to write a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// The permission bits. `None` keeps those of a file that is there; a new one gets 0644.
    pub mode: Option<u32>,
    /// How many bytes will come, if that is known. A write that ends with another number is refused.
    pub size: Option<u64>,
}

/// A file that is being read.
#[derive(Debug)]
pub struct FileReader {
    /// How many bytes will come.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    pieces: Streaming<own::ReadFilePiece>,
}

impl FileReader {
    /// The next piece, never empty; `None` after the last. Safe to drop at any await.
    ///
    /// # Errors
    /// When the rest cannot be read, e.g. because the file has shrunk.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        use own::read_file_piece::Piece;
        match self.pieces.message().await? {
            None => Ok(None),
            Some(own::ReadFilePiece { piece: Some(Piece::Data(data)) }) => Ok(Some(data)),
            Some(_) => Err(Error::Protocol("a piece of a file that holds none of it".to_owned())),
        }
    }
}

/// A directory that comes as a tar stream.
#[derive(Debug)]
pub struct ArchiveReader {
    pieces: Streaming<own::PackPiece>,
}

impl ArchiveReader {
    /// The next piece of the stream; `None` after the last. Safe to drop at any await.
    ///
    /// # Errors
    /// When the rest cannot be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.pieces.message().await?.map(|piece| piece.data))
    }
}

/// Something that is being written: a file, or a directory from a tar stream. A file is there once
/// [`Writer::commit`] has returned; if it is dropped before that, what was there stays as it was.
#[derive(Debug)]
pub struct Writer {
    pieces: Pieces,
    /// Gone once it has been told.
    answer: Option<JoinHandle<Result<(), tonic::Status>>>,
}

#[derive(Debug)]
enum Pieces {
    File(mpsc::Sender<own::WriteFilePiece>),
    Archive(mpsc::Sender<own::UnpackPiece>),
}

impl Writer {
    /// Writes a piece; waits while the sandbox does not keep up.
    ///
    /// # Errors
    /// When the daemon takes no more, with the reason.
    pub async fn write(&mut self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        let sent = match &self.pieces {
            Pieces::File(pieces) => {
                let piece = own::write_file_piece::Piece::Data(data);
                pieces.send(own::WriteFilePiece { piece: Some(piece) }).await.is_ok()
            }
            Pieces::Archive(pieces) => {
                let piece = own::unpack_piece::Piece::Data(data);
                pieces.send(own::UnpackPiece { piece: Some(piece) }).await.is_ok()
            }
        };
        if sent { Ok(()) } else { self.answer().await.and(Err(cut_off())) }
    }

    /// Says that nothing more comes, and waits until everything is in place.
    ///
    /// # Errors
    /// When it could not be put in place.
    pub async fn commit(mut self) -> Result<(), Error> {
        // Where nobody takes it any more, the answer says why.
        match &self.pieces {
            Pieces::File(pieces) => {
                let piece = own::write_file_piece::Piece::Commit(own::Commit {});
                let _ = pieces.send(own::WriteFilePiece { piece: Some(piece) }).await;
            }
            Pieces::Archive(pieces) => {
                let piece = own::unpack_piece::Piece::Commit(own::Commit {});
                let _ = pieces.send(own::UnpackPiece { piece: Some(piece) }).await;
            }
        }
        self.answer().await
    }

    /// Waits until the daemon takes no more, and says why. For whoever waits for something to write meanwhile. Safe to
    /// drop at any await.
    pub async fn refused(&mut self) -> Error {
        self.answer().await.err().unwrap_or_else(cut_off)
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let Some(waiting) = &mut self.answer else { return Err(cut_off()) };
        let answer = waiting.await;
        self.answer = None;
        Ok(answer.map_err(|_| cut_off())??)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The call with it: its end without a commit is what undoes it.
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

fn cut_off() -> Error {
    Error::Protocol("the daemon ended a write before its last byte, without a reason".to_owned())
}

impl Client {
    /// The content of a file. One that is too large for memory is for [`Client::read_file_stream`].
    ///
    /// # Errors
    /// When the sandbox does not run, the path leads to no file that can be read, or the call fails.
    pub async fn read_file(&self, sandbox_id: &str, path: &str) -> Result<Vec<u8>, Error> {
        let mut file = self.read_file_stream(sandbox_id, path).await?;
        let mut content = Vec::new();
        while let Some(piece) = file.next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// Replaces the content of a file at once, or makes the file and the directories on the way to it.
    ///
    /// # Errors
    /// When the sandbox does not run, no file can be written at the path, or the call fails. The old file is then
    /// still there.
    pub async fn write_file(&self, sandbox_id: &str, path: &str, content: &[u8]) -> Result<(), Error> {
        let options = WriteOptions { size: Some(content.len() as u64), ..WriteOptions::default() };
        let mut file = self.write_file_stream(sandbox_id, path, options).await?;
        for piece in content.chunks(PIECE) {
            file.write(piece.to_vec()).await?;
        }
        file.commit().await
    }

    /// Opens a file for reading in pieces.
    ///
    /// # Errors
    /// As of [`Client::read_file`].
    pub async fn read_file_stream(&self, sandbox_id: &str, path: &str) -> Result<FileReader, Error> {
        use own::read_file_piece::Piece;
        let request = own::ReadFileRequest { sandbox_id: sandbox_id.to_owned(), path: path.to_owned() };
        let mut pieces = self.own.clone().read_file(request).await?.into_inner();
        match pieces.message().await?.and_then(|first| first.piece) {
            Some(Piece::Info(own::FileInfo { size, mode })) => Ok(FileReader { size, mode, pieces }),
            _ => Err(Error::Protocol("a file that does not begin with what it is".to_owned())),
        }
    }

    /// Begins to write a file in pieces. Whether it can be written is told by the first write that has to wait, or by
    /// the commit.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub async fn write_file_stream(
        &self,
        sandbox_id: &str,
        path: &str,
        options: WriteOptions,
    ) -> Result<Writer, Error> {
        let WriteOptions { mode, size } = options;
        let (sandbox_id, path) = (sandbox_id.to_owned(), path.to_owned());
        let start = own::WriteFileStart { sandbox_id, path, mode, size };
        let start = own::write_file_piece::Piece::Start(start);
        let (pieces, queue) = mpsc::channel(QUEUE);
        // There is room: the queue is new.
        let _ = pieces.send(own::WriteFilePiece { piece: Some(start) }).await;
        let mut own = self.own.clone();
        let answer = tokio::spawn(async move { own.write_file(ReceiverStream::new(queue)).await.map(drop) });
        Ok(Writer { pieces: Pieces::File(pieces), answer: Some(answer) })
    }

    /// A directory as a tar stream, its entries named by their path below it.
    ///
    /// # Errors
    /// When the sandbox does not run, the path does not lead to a directory, or the call fails.
    pub async fn pack(&self, sandbox_id: &str, path: &str) -> Result<ArchiveReader, Error> {
        let request = own::PackRequest { sandbox_id: sandbox_id.to_owned(), path: path.to_owned() };
        Ok(ArchiveReader { pieces: self.own.clone().pack(request).await?.into_inner() })
    }

    /// Begins to unpack a tar stream into a directory, which is made if it is not there. Whether that can be done is
    /// told by the first write that has to wait, or by the commit.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub async fn unpack(&self, sandbox_id: &str, path: &str) -> Result<Writer, Error> {
        let start = own::UnpackStart { sandbox_id: sandbox_id.to_owned(), path: path.to_owned() };
        let start = own::unpack_piece::Piece::Start(start);
        let (pieces, queue) = mpsc::channel(QUEUE);
        let _ = pieces.send(own::UnpackPiece { piece: Some(start) }).await;
        let mut own = self.own.clone();
        let answer = tokio::spawn(async move { own.unpack(ReceiverStream::new(queue)).await.map(drop) });
        Ok(Writer { pieces: Pieces::Archive(pieces), answer: Some(answer) })
    }
}
