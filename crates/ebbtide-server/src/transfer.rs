//! Files and directories of any size, in pieces, for Ebbtide's own clients.
//!
//! As with commands, nothing lies between the driver and HTTP/2's window: a client that does not read stops the helper
//! inside the sandbox, a sandbox that does not keep up stops the client. What is dropped half-way is undone below.

use ebbtide_driver::{Content, Sink, WriteOptions};
use ebbtide_model::Invalid;
use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::ebbtide::v1 as own;
use futures::stream;
use own::read_file_piece::Piece as Out;
use tokio::time::{Duration, timeout};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::ebbtide::Ebbtide;
use crate::ending::Ending;
use crate::errors;

/// How long a client may take to say what it wants.
const START: Duration = Duration::from_secs(30);

pub(crate) async fn read_file(
    service: &Ebbtide,
    request: Request<own::ReadFileRequest>,
) -> Result<Response<BoxStream<own::ReadFilePiece>>, Status> {
    let caller = Caller::from_request(&request)?;
    let own::ReadFileRequest { sandbox_id: id, path } = request.into_inner();
    let file = service.control.open_read(&caller.principal, &id, &path).await;
    let file = file.map_err(|error| errors::file_operation(error, "read_file"))?;
    let info = Out::Info(own::FileInfo { size: file.size, mode: file.mode });
    let piece = |piece| own::ReadFilePiece { piece: Some(piece) };
    let pieces =
        pieces(service.ending.clone(), file.content, "read_file", move |data| piece(Out::Data(data)));
    Ok(Response::new(Box::pin(futures::StreamExt::chain(stream::iter([Ok(piece(info))]), pieces))))
}

pub(crate) async fn pack(
    service: &Ebbtide,
    request: Request<own::PackRequest>,
) -> Result<Response<BoxStream<own::PackPiece>>, Status> {
    let caller = Caller::from_request(&request)?;
    let own::PackRequest { sandbox_id: id, path } = request.into_inner();
    let content = service.control.pack(&caller.principal, &id, &path).await;
    let content = content.map_err(|error| errors::file_operation(error, "pack"))?;
    Ok(Response::new(Box::pin(pieces(service.ending.clone(), content, "pack", |data| own::PackPiece {
        data,
    }))))
}

/// The pieces of an answer, until the daemon ends.
pub(crate) fn pieces<T: Send + 'static>(
    ending: Ending,
    content: Box<dyn Content>,
    operation: &'static str,
    piece: impl Fn(Bytes) -> T + Send + 'static,
) -> impl futures::Stream<Item = Result<T, Status>> + Send {
    stream::unfold(Some((ending, content, piece)), move |state| async move {
        let (mut ending, mut content, piece) = state?;
        let next = tokio::select! {
            biased;
            next = content.next() => next.map_err(|error| errors::file_operation(error.into(), operation)),
            () = ending.begun() => Err(errors::ending()),
        };
        match next {
            Ok(None) => None,
            Ok(Some(bytes)) => Some((Ok(piece(Bytes::from(bytes))), Some((ending, content, piece)))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

pub(crate) async fn write_file(
    service: &Ebbtide,
    request: Request<Streaming<own::WriteFilePiece>>,
) -> Result<Response<own::WriteFileResponse>, Status> {
    use own::write_file_piece::Piece;
    let caller = Caller::from_request(&request)?;
    let mut incoming =
        Incoming::new(request, service, |message: own::WriteFilePiece| match message.piece? {
            Piece::Start(start) => Some(Part::Start(start)),
            Piece::Data(data) => Some(Part::Data(data)),
            Piece::Commit(_) => Some(Part::Commit),
        });
    let own::WriteFileStart { sandbox_id: id, path, mode, size } = incoming.start().await?;
    if let Some(mode) = mode.filter(|mode| *mode > 0o7777) {
        return Err(errors::invalid(Invalid::new("start.mode", format!("{mode:o} is no mode"), "0 to 7777")));
    }
    let options = WriteOptions { mode, size };
    let sink = service.control.open_write(&caller.principal, &id, &path, options).await;
    incoming.fill(sink.map_err(|error| errors::file_operation(error, "write_file"))?, "write_file").await?;
    Ok(Response::new(own::WriteFileResponse {}))
}

pub(crate) async fn unpack(
    service: &Ebbtide,
    request: Request<Streaming<own::UnpackPiece>>,
) -> Result<Response<own::UnpackResponse>, Status> {
    use own::unpack_piece::Piece;
    let caller = Caller::from_request(&request)?;
    let mut incoming = Incoming::new(request, service, |message: own::UnpackPiece| match message.piece? {
        Piece::Start(start) => Some(Part::Start(start)),
        Piece::Data(data) => Some(Part::Data(data)),
        Piece::Commit(_) => Some(Part::Commit),
    });
    let own::UnpackStart { sandbox_id: id, path } = incoming.start().await?;
    let sink = service.control.unpack(&caller.principal, &id, &path).await;
    incoming.fill(sink.map_err(|error| errors::file_operation(error, "unpack"))?, "unpack").await?;
    Ok(Response::new(own::UnpackResponse {}))
}

/// A message of a client that sends.
enum Part<S> {
    Start(S),
    Data(Bytes),
    Commit,
}

/// What a client sends: a start, data, a commit.
struct Incoming<M, F> {
    messages: Streaming<M>,
    part: F,
    ending: Ending,
}

impl<M, S, F: Fn(M) -> Option<Part<S>>> Incoming<M, F> {
    fn new(request: Request<Streaming<M>>, service: &Ebbtide, part: F) -> Self {
        Self { messages: request.into_inner(), part, ending: service.ending.clone() }
    }

    async fn next(&mut self) -> Result<Option<Part<S>>, Status> {
        let message = tokio::select! {
            biased;
            message = self.messages.message() => message.map_err(errors::typed)?,
            () = self.ending.begun() => return Err(errors::ending()),
        };
        let Some(message) = message else { return Ok(None) };
        match (self.part)(message) {
            Some(part) => Ok(Some(part)),
            None => Err(protocol("piece", "is empty or not known", "start, data or commit")),
        }
    }

    async fn start(&mut self) -> Result<S, Status> {
        match timeout(START, self.next()).await {
            Ok(Ok(Some(Part::Start(start)))) => Ok(start),
            Ok(Err(status)) => Err(status),
            Ok(Ok(_)) | Err(_) => Err(protocol("start", "is not the first message", "start first")),
        }
    }

    /// Hands all data to `sink`, and commits when the client does.
    async fn fill(&mut self, mut sink: Box<dyn Sink>, operation: &str) -> Result<(), Status> {
        let failed = |error: ebbtide_driver::DriverError| errors::file_operation(error.into(), operation);
        loop {
            let next = tokio::select! {
                next = self.next() => next?,
                error = sink.refused() => return Err(failed(error)),
            };
            match next {
                Some(Part::Data(data)) => sink.write(&data).await.map_err(failed)?,
                Some(Part::Commit) => return sink.commit().await.map_err(failed),
                Some(Part::Start(_)) => return Err(protocol("start", "came twice", "data or commit")),
                None => return Err(protocol("commit", "did not come", "commit last")),
            }
        }
    }
}

fn protocol(field: &str, problem: &str, accepted: &str) -> Status {
    errors::invalid(Invalid::new(field, problem, accepted))
}
