//! `grpc.health.v1`: whether the daemon serves. The only service that asks for no key, since those who watch over
//! daemons have none, and the answer says nothing but that somebody is there.

use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_server::SERVICE_NAME as SANDBOXES;
use ebbtide_proto::ebbtide::v1::ebbtide_service_server::SERVICE_NAME as OWN;
use futures::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
pub(crate) use tonic_health::pb::health_server::{HealthServer, SERVICE_NAME};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::ending::Ending;

/// Answers for the daemon as a whole (no name) and for its services by name.
pub(crate) struct Pulse(Ending);

impl Pulse {
    pub(crate) fn new(ending: Ending) -> Self {
        Self(ending)
    }
}

fn is_served(service: &str) -> bool {
    ["", SANDBOXES, OWN].contains(&service)
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Pulse {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if is_served(&request.get_ref().service) {
            return Ok(Response::new(answer(ServingStatus::Serving)));
        }
        Err(Status::not_found("no service of this name"))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = match is_served(&request.get_ref().service) {
            true => ServingStatus::Serving,
            false => ServingStatus::ServiceUnknown,
        };
        let mut ending = self.0.clone();
        let last = async move {
            ending.begun().await;
            Ok(answer(ServingStatus::NotServing))
        };
        let statuses = stream::StreamExt::chain(stream::iter([Ok(answer(first))]), stream::once(last));
        Ok(Response::new(Box::pin(statuses)))
    }
}
