//! Pause and resume of one sandbox.

use ebbtide_proto::ebbtide::v1 as own;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::ebbtide::Ebbtide;
use crate::{descriptions, errors, lease};

pub(crate) async fn pause(
    ebbtide: &Ebbtide,
    request: Request<own::PauseRequest>,
) -> Result<Response<own::Description>, Status> {
    let caller = Caller::from_request(&request)?;
    let mine = lease::mine(&ebbtide.control, &caller, &request);
    let id = request.into_inner().sandbox_id;
    let record = ebbtide.control.pause(&caller.principal, &id).await.map_err(errors::control)?;
    let described = ebbtide.control.describe_record(record);
    Ok(Response::new(descriptions::message(described, mine.as_ref(), &ebbtide.shown)))
}

pub(crate) async fn resume(
    ebbtide: &Ebbtide,
    request: Request<own::ResumeRequest>,
) -> Result<Response<own::Description>, Status> {
    let caller = Caller::from_request(&request)?;
    let mine = lease::mine(&ebbtide.control, &caller, &request);
    let id = request.into_inner().sandbox_id;
    let record = ebbtide.control.resume(&caller.principal, &id).await.map_err(errors::control)?;
    let described = ebbtide.control.describe_record(record);
    Ok(Response::new(descriptions::message(described, mine.as_ref(), &ebbtide.shown)))
}
