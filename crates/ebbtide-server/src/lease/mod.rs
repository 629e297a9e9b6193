//! `ebbtide.v1.LeaseService`: who stands for sandboxes, and who takes them over.

mod hold;

use ebbtide_control::{Adopter, Control, ControlError};
use ebbtide_model::{Invalid, LEASE_HEADER, LeaseId, OwnerProcess, SandboxRecord};
use ebbtide_proto::Shown;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::adopt_request::Owner;
use ebbtide_proto::ebbtide::v1::lease_service_server::LeaseService;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::ending::Ending;
use crate::{ServerConfig, descriptions, errors};

pub(crate) struct Leases {
    control: Control,
    ending: Ending,
    shown: Shown,
}

impl Leases {
    pub(crate) fn new(config: &ServerConfig, control: Control, ending: Ending) -> Self {
        Self { control, ending, shown: Shown { default_resources: config.default_resources } }
    }

    fn message(&self, record: SandboxRecord, mine: Option<&LeaseId>) -> Response<own::Description> {
        Response::new(descriptions::message(self.control.describe_record(record), mine, &self.shown))
    }
}

/// The token of the lease that a request came with. What no token can be is one that proves nothing.
pub(crate) fn token<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get(LEASE_HEADER)?;
    Some(value.to_str().unwrap_or_default().to_owned())
}

/// The lease that a request came with, where it is one of the caller's.
pub(crate) fn mine<T>(control: &Control, caller: &Caller, request: &Request<T>) -> Option<LeaseId> {
    control.holder(&caller.principal, &token(request)?)?.lease
}

#[tonic::async_trait]
impl LeaseService for Leases {
    async fn hold(
        &self,
        request: Request<Streaming<own::HoldRequest>>,
    ) -> Result<Response<BoxStream<own::HoldResponse>>, Status> {
        hold::hold(&self.control, self.ending.clone(), request).await
    }

    async fn adopt(&self, request: Request<own::AdoptRequest>) -> Result<Response<own::Description>, Status> {
        let caller = Caller::from_request(&request)?;
        let (token, mine) = (token(&request), mine(&self.control, &caller, &request));
        let own::AdoptRequest { sandbox_id, owner } = request.into_inner();
        let adopter = match (owner, token) {
            (Some(Owner::Process(process)), _) => Adopter::Process(named(&caller, process)?),
            (Some(Owner::Nobody(own::Nobody {})), _) => Adopter::Nobody,
            (None, Some(token)) => Adopter::Lease(token),
            (None, None) => {
                let accepted = format!("a process, nobody, or a lease in the header {LEASE_HEADER:?}");
                return Err(errors::invalid(Invalid::new("owner", "is not named", accepted)));
            }
        };
        let record = self.control.adopt(&caller.principal, &sandbox_id, &adopter).await;
        Ok(self.message(record.map_err(errors::control)?, mine.as_ref()))
    }

    async fn detach(
        &self,
        request: Request<own::DetachRequest>,
    ) -> Result<Response<own::Description>, Status> {
        let caller = Caller::from_request(&request)?;
        let mine = mine(&self.control, &caller, &request);
        let id = request.into_inner().sandbox_id;
        let record = self.control.detach(&caller.principal, &id).await.map_err(errors::control)?;
        Ok(self.message(record, mine.as_ref()))
    }
}

/// A process that the caller may name as an owner.
fn named(caller: &Caller, process: own::Process) -> Result<OwnerProcess, Status> {
    let own::Process { pid, start_time } = process;
    let process = OwnerProcess { pid, start_time };
    caller.check_owner(process).map_err(|error| match error {
        ControlError::Invalid(refused) => {
            errors::invalid(Invalid { field: "owner.process".to_owned(), ..refused })
        }
        error => errors::control(error),
    })?;
    Ok(process)
}
