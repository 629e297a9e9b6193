//! All that is known of sandboxes: one, or many a page at a time.

use ebbtide_control::{Deadline, Described, ListFilter};
use ebbtide_model::LeaseId;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::{Shown, Standing, deadline_message, description_message, ownership_kind};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::ebbtide::Ebbtide;
use crate::{errors, lease};

pub(crate) async fn describe(
    ebbtide: &Ebbtide,
    request: Request<own::DescribeRequest>,
) -> Result<Response<own::Description>, Status> {
    let caller = Caller::from_request(&request)?;
    let mine = lease::mine(&ebbtide.control, &caller, &request);
    let id = request.into_inner().sandbox_id;
    let described = ebbtide.control.describe(&caller.principal, &id).await.map_err(errors::control)?;
    Ok(Response::new(message(described, mine.as_ref(), &ebbtide.shown)))
}

pub(crate) async fn list(
    ebbtide: &Ebbtide,
    request: Request<own::ListDescriptionsRequest>,
) -> Result<Response<own::ListDescriptionsResponse>, Status> {
    let caller = Caller::from_request(&request)?;
    let mine = lease::mine(&ebbtide.control, &caller, &request);
    let request = request.into_inner();
    let filter = ListFilter {
        tags: request.tags,
        ownership: ownership_kind(request.ownership).map_err(errors::invalid)?,
        show_terminated: request.show_terminated,
        page_size: request.page_size as usize,
        page_token: request.page_token,
        ..ListFilter::default()
    };
    let page = ebbtide.control.list(&caller.principal, filter).await.map_err(errors::control)?;
    Ok(Response::new(own::ListDescriptionsResponse {
        descriptions: page
            .records
            .into_iter()
            .map(|record| message(ebbtide.control.describe_record(record), mine.as_ref(), &ebbtide.shown))
            .collect(),
        next_page_token: page.next_page_token,
    }))
}

/// The message for what is known of a sandbox, for a caller who came with the lease `mine`.
pub(crate) fn message(described: Described, mine: Option<&LeaseId>, shown: &Shown) -> own::Description {
    let Described { record, deadlines, active, last_active_at } = described;
    let deadlines = deadlines
        .iter()
        .map(|Deadline { kind, at, then }| deadline_message(kind.as_str(), *at, then.as_str()));
    let standing = Standing { deadlines: deadlines.collect(), active, last_active_at };
    description_message(record, standing, mine, shown)
}
