//! A purge in two steps: what it would end, and what confirms exactly that.

use ebbtide_control::{PurgeFilter, PurgedItem, Whose};
use ebbtide_proto::ebbtide::v1 as own;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::ebbtide::Ebbtide;
use crate::{asked, descriptions, errors, lease};

pub(crate) fn plan(
    ebbtide: &Ebbtide,
    request: Request<own::PlanPurgeRequest>,
) -> Result<Response<own::PurgePlan>, Status> {
    let caller = Caller::from_request(&request)?;
    let mine = lease::mine(&ebbtide.control, &caller, &request);
    let (whose, filter) = named(&caller, request.into_inner())?;
    let plan = ebbtide.control.plan_purge(&whose, &filter).map_err(errors::control)?;
    let message = |described| descriptions::message(described, mine.as_ref(), &ebbtide.shown);
    Ok(Response::new(own::PurgePlan {
        hash: plan.hash,
        sandboxes: plan.sandboxes.into_iter().map(message).collect(),
    }))
}

pub(crate) async fn confirm(
    ebbtide: &Ebbtide,
    request: Request<own::ConfirmPurgeRequest>,
) -> Result<Response<own::PurgeResult>, Status> {
    let caller = Caller::from_request(&request)?;
    let asked = asked::of(&ebbtide.control, &caller, &request)?;
    let own::ConfirmPurgeRequest { plan, hash } = request.into_inner();
    let (whose, filter) = named(&caller, plan.unwrap_or_default())?;
    let done = ebbtide.control.confirm_purge(&whose, &filter, &hash, &asked).await;
    let item = |PurgedItem { id, outcome, message }| own::purge_result::Item {
        sandbox_id: id.to_string(),
        outcome: outcome.as_str().to_owned(),
        message,
    };
    let items = done.map_err(errors::control)?.into_iter().map(item).collect();
    Ok(Response::new(own::PurgeResult { items }))
}

/// Which sandboxes are named. Those of others are only root's to end, and only on the daemon's own machine.
fn named(caller: &Caller, request: own::PlanPurgeRequest) -> Result<(Whose, PurgeFilter), Status> {
    let own::PlanPurgeRequest { tags, all, all_owners } = request;
    let principal = caller.principal.clone();
    let whose = match all_owners {
        false => Whose::Own(principal),
        true => {
            caller.require_root("the sandboxes of others are ended")?;
            Whose::Everybodys(principal)
        }
    };
    Ok((whose, PurgeFilter { tags, all }))
}
