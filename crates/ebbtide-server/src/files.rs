//! ReadFile and WriteFile of the public protocol: a whole file as one message. What is larger has other ways: the public
//! client streams it through commands, Ebbtide's own clients through `ebbtide.v1`.

use ebbtide_driver::{FileErrorKind, WriteOptions};
use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use futures::{StreamExt as _, stream};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::errors;
use crate::large_answer::LargeAnswer;
use crate::sandboxes::Sandboxes;
use crate::transfer::pieces;

/// The largest file of one message. The public client has the same bound unless it is told another.
const MAX_BYTES: u64 = 32 << 20;
/// The field of the answer that holds a file's content.
const CONTENT: u32 = 1;

/// Answers with a file's content, as it is read.
pub(crate) async fn read(
    sandboxes: &Sandboxes,
    request: Request<wire::ReadFileRequest>,
) -> Result<Response<wire::ReadFileResponse>, Status> {
    let failed = |error| errors::file_operation(error, "read_file");
    let caller = Caller::from_request(&request)?;
    let wire::ReadFileRequest { sandbox_id: id, path, container } = request.into_inner();
    sandboxes.check_container(&caller, &id, &container).await.map_err(errors::control)?;
    let mut file = sandboxes.control.open_read(&caller.principal, &id, &path).await.map_err(failed)?;
    if file.size > MAX_BYTES {
        let kind = FileErrorKind::TooLarge { size: Some(file.size), max: MAX_BYTES };
        return Err(failed(ebbtide_driver::DriverError::from(kind.at(path)).into()));
    }
    // So that what cannot be read at all is an error and not an answer that breaks off.
    let first = file.content.next().await.map_err(|error| failed(error.into()))?;
    let rest = pieces(sandboxes.ending.clone(), file.content, "read_file", |data| data);
    let content = stream::iter(first).map(|data| Ok(Bytes::from(data))).chain(rest);
    let mut response = Response::new(wire::ReadFileResponse::default());
    response.extensions_mut().insert(LargeAnswer::new(CONTENT, file.size, content));
    Ok(response)
}

/// Replaces a file's content, or makes the file.
pub(crate) async fn write(
    sandboxes: &Sandboxes,
    request: Request<wire::WriteFileRequest>,
) -> Result<Response<wire::WriteFileResponse>, Status> {
    let failed = |error| errors::file_operation(error, "write_file");
    let caller = Caller::from_request(&request)?;
    let wire::WriteFileRequest { sandbox_id: id, path, content, container } = request.into_inner();
    sandboxes.check_container(&caller, &id, &container).await.map_err(errors::control)?;
    let size = content.len() as u64;
    if size > MAX_BYTES {
        let kind = FileErrorKind::TooLarge { size: Some(size), max: MAX_BYTES };
        return Err(failed(ebbtide_driver::DriverError::from(kind.at(path)).into()));
    }
    let options = WriteOptions { mode: None, size: Some(size) };
    let mut sink =
        sandboxes.control.open_write(&caller.principal, &id, &path, options).await.map_err(failed)?;
    sink.write(&content).await.map_err(|error| failed(error.into()))?;
    sink.commit().await.map_err(|error| failed(error.into()))?;
    Ok(Response::new(wire::WriteFileResponse {}))
}
