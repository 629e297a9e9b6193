//! `coreweave.sandbox.v1.DiscoveryService`: this daemon is one runner, and says what it can do and has to give.

use std::time::SystemTime;

use ebbtide_control::Control;
use ebbtide_driver::Capacity;
use ebbtide_model::{Invalid, Principal};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::coreweave::sandbox::v1::discovery_service_server::DiscoveryService;
use ebbtide_proto::{RUNNER_ID, timestamp};
use tonic::{Request, Response, Status};
use wire::RunnerView;

use crate::caller::Caller;
use crate::errors;

pub(crate) struct Discovery {
    control: Control,
    since: SystemTime,
}

impl Discovery {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, since: SystemTime::now() }
    }

    async fn runner(&self, caller: &Caller, view: RunnerView) -> wire::AvailableRunner {
        // A runner whose driver cannot answer is there, and not healthy.
        let capacity = self.control.capacity().await.ok();
        let organization_id = match &caller.principal {
            Principal::Organisation(name) => name.clone(),
            Principal::Uid(_) => String::new(),
        };
        wire::AvailableRunner {
            runner_id: RUNNER_ID.to_owned(),
            healthy: capacity.is_some(),
            resources: (view == RunnerView::Full).then(|| wire::RunnerResourceSummary {
                available_cpu_millicores: capacity.as_ref().map_or(0, |has| number(has.free_cpu_milli)),
                available_memory_bytes: capacity.as_ref().map_or(0, |has| number(has.free_memory_bytes)),
                available_gpu_count: 0,
                running_sandboxes: i32::try_from(*self.control.live().borrow()).unwrap_or(i32::MAX),
            }),
            capabilities: Some(capabilities(capacity)),
            connected_at: Some(timestamp(self.since)),
            // By everybody whom the daemon lets in.
            is_shared: true,
            organization_id,
            ..Default::default()
        }
    }
}

fn capabilities(capacity: Option<Capacity>) -> wire::RunnerCapabilitySummary {
    let Some(capacity) = capacity else { return wire::RunnerCapabilitySummary::default() };
    wire::RunnerCapabilitySummary {
        max_cpu_millicores: number(capacity.cpu_milli),
        max_memory_bytes: number(capacity.memory_bytes),
        supported_architectures: vec![capacity.architecture],
        ..Default::default()
    }
}

fn number(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl DiscoveryService for Discovery {
    async fn list_available_runners(
        &self,
        request: Request<wire::ListAvailableRunnersRequest>,
    ) -> Result<Response<wire::ListAvailableRunnersResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let wire::ListAvailableRunnersRequest {
            runner_group_id,
            gpu_type,
            architecture,
            healthy_only,
            page_size,
            page_token,
            view,
            service_visibility,
        } = request.into_inner();
        if page_size < 0 {
            let problem = format!("{page_size} is negative");
            return Err(errors::invalid(Invalid::new("page_size", problem, "0 or more")));
        }
        if !page_token.is_empty() {
            let problem = "is not from a listing of this daemon, which has one page";
            return Err(errors::invalid(Invalid::new("page_token", problem, "none")));
        }
        let view = self::view(view).map_err(errors::invalid)?;
        let visibility = wire::Visibility::try_from(service_visibility).map_err(|_| {
            let problem = format!("{service_visibility} is no visibility");
            errors::invalid(Invalid::new("service_visibility", problem, "a value of Visibility"))
        })?;
        let runner = self.runner(&caller, view).await;
        let architectures = runner.capabilities.as_ref().map_or(&[][..], |can| &can.supported_architectures);
        let wanted = Capacity::architecture_of(&architecture);
        // There are no groups, no GPUs, and nothing that a service could be published by.
        let matches = runner_group_id.is_empty()
            && gpu_type.is_empty()
            && visibility == wire::Visibility::Unspecified
            && (architecture.is_empty() || architectures.iter().any(|has| has == wanted))
            && (runner.healthy || !healthy_only);
        let runners = if matches { vec![runner] } else { Vec::new() };
        Ok(Response::new(wire::ListAvailableRunnersResponse { runners, next_page_token: String::new() }))
    }

    async fn get_available_runner(
        &self,
        request: Request<wire::GetAvailableRunnerRequest>,
    ) -> Result<Response<wire::AvailableRunner>, Status> {
        let caller = Caller::from_request(&request)?;
        // Every organization that is let in has this runner, under the same name.
        let wire::GetAvailableRunnerRequest { runner_id, view, organization_id: _ } = request.into_inner();
        let view = self::view(view).map_err(errors::invalid)?;
        if runner_id != RUNNER_ID {
            return Err(errors::no_runner(&runner_id));
        }
        Ok(Response::new(self.runner(&caller, view).await))
    }
}

fn view(number: i32) -> Result<RunnerView, Invalid> {
    RunnerView::try_from(number)
        .map_err(|_| Invalid::new("view", format!("{number} is no view"), "a value of RunnerView"))
}
