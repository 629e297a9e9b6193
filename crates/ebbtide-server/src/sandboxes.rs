//! `coreweave.sandbox.v1.SandboxService`. What is not here answers UNIMPLEMENTED, which clients can live with.

use ebbtide_control::{Control, ControlError, ListFilter, PurgeFilter};
use ebbtide_model::{ErrorReason, Invalid, Limits, OwnerProcess, SandboxRecord, StopOptions};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_server::SandboxService;
use ebbtide_proto::{
    CreateFields, RUNNER_ID, Refusal, Shown, sandbox_message, sandbox_spec, state_from_message,
};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::ending::Ending;
use crate::{ServerConfig, asked, errors, exec, files, lease, logs};

const DEFAULT_PAGE_SIZE: usize = 1000;
const MAX_PAGE_SIZE: usize = 10_000;

pub(crate) struct Sandboxes {
    pub(crate) control: Control,
    pub(crate) ending: Ending,
    shown: Shown,
    limits: Limits,
}

impl Sandboxes {
    pub(crate) fn new(config: &ServerConfig, control: Control, ending: Ending) -> Self {
        let shown = Shown { default_resources: config.default_resources };
        Self { control, ending, shown, limits: config.limits.clone() }
    }

    fn message(&self, record: SandboxRecord) -> wire::Sandbox {
        sandbox_message(record, &self.shown)
    }
}

#[tonic::async_trait]
impl SandboxService for Sandboxes {
    async fn create_sandbox(
        &self,
        request: Request<wire::CreateSandboxRequest>,
    ) -> Result<Response<wire::Sandbox>, Status> {
        let caller = Caller::from_request(&request)?;
        let lease = lease::token(&request);
        let wire::CreateSandboxRequest { sandbox, request_id } = request.into_inner();
        let fields = CreateFields::of(sandbox.as_ref());
        let refused = |error: ControlError| errors::create(error, fields);
        let spec = sandbox_spec(sandbox).map_err(errors::refusal)?;
        let owner =
            OwnerProcess::from_annotations(&spec.annotations).map_err(|invalid| refused(invalid.into()))?;
        if let Some(process) = owner {
            caller.check_owner(process).map_err(refused)?;
        }
        let record = self
            .control
            .create_under(&caller.principal, spec, &request_id, lease.as_deref())
            .await
            .map_err(refused)?;
        Ok(Response::new(self.message(record)))
    }

    async fn get_sandbox(
        &self,
        request: Request<wire::GetSandboxRequest>,
    ) -> Result<Response<wire::Sandbox>, Status> {
        let caller = Caller::from_request(&request)?;
        let id = request.into_inner().sandbox_id;
        let record = self.control.get(&caller.principal, &id).await.map_err(errors::control)?;
        Ok(Response::new(self.message(record)))
    }

    async fn list_sandboxes(
        &self,
        request: Request<wire::ListSandboxesRequest>,
    ) -> Result<Response<wire::ListSandboxesResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let Some(filter) = list_filter(request.into_inner()).map_err(errors::invalid)? else {
            return Ok(Response::new(wire::ListSandboxesResponse::default()));
        };
        let page = self.control.list(&caller.principal, filter).await.map_err(errors::control)?;
        Ok(Response::new(wire::ListSandboxesResponse {
            sandboxes: page.records.into_iter().map(|record| self.message(record)).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn delete_sandbox(
        &self,
        request: Request<wire::DeleteSandboxRequest>,
    ) -> Result<Response<wire::DeleteSandboxResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let asked = asked::of(&self.control, &caller, &request)?;
        let request = request.into_inner();
        if !request.snapshot_volumes.is_empty() {
            return Err(errors::refusal(Refusal::snapshots("snapshot_volumes", "snapshots are")));
        }
        let options =
            StopOptions::from_seconds(request.grace_period_seconds, &self.limits).map_err(errors::invalid)?;
        let stopped = self.control.stop_as(&caller.principal, &request.sandbox_id, options, asked).await;
        let sandbox = match stopped {
            Ok(record) => Some(self.message(record)),
            // Nothing but an absent sandbox says that there was none.
            Err(error) if request.allow_missing && error.reason() == ErrorReason::SandboxNotFound => None,
            Err(error) => return Err(errors::control(error)),
        };
        Ok(Response::new(wire::DeleteSandboxResponse { sandbox, ..Default::default() }))
    }

    async fn purge_sandboxes(
        &self,
        request: Request<wire::PurgeSandboxesRequest>,
    ) -> Result<Response<wire::PurgeSandboxesResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let asked = asked::of(&self.control, &caller, &request)?;
        let wire::PurgeSandboxesRequest { tags, dry_run, purge_all, request_id: _ } = request.into_inner();
        let filter = PurgeFilter { tags, all: purge_all };
        let outcome =
            self.control.purge(&caller.principal, filter, dry_run, &asked).await.map_err(errors::control)?;
        let missed = outcome.failed.len() + outcome.retryable.len();
        let ids = |ids: Vec<_>| ids.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::PurgeSandboxesResponse {
            purge_count: i32::try_from(outcome.matched.len().saturating_sub(missed)).unwrap_or(i32::MAX),
            failed_sandbox_ids: ids(outcome.failed),
            retryable_failed_sandbox_ids: ids(outcome.retryable),
        }))
    }

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        files::read(self, request).await
    }

    async fn write_file(
        &self,
        request: Request<wire::WriteFileRequest>,
    ) -> Result<Response<wire::WriteFileResponse>, Status> {
        files::write(self, request).await
    }

    async fn exec(
        &self,
        request: Request<wire::ExecRequest>,
    ) -> Result<Response<wire::ExecResponse>, Status> {
        exec::unary(self, request).await
    }

    async fn stream_exec(
        &self,
        request: Request<Streaming<wire::ExecStreamRequest>>,
    ) -> Result<Response<BoxStream<wire::ExecStreamResponse>>, Status> {
        exec::stream(self, request).await
    }

    async fn stream_logs(
        &self,
        request: Request<wire::StreamLogsRequest>,
    ) -> Result<Response<BoxStream<wire::LogEntry>>, Status> {
        logs::stream(self, request).await
    }
}

impl Sandboxes {
    /// Checks that `container`, if it is given, is the sandbox's only one.
    pub(crate) async fn check_container(
        &self,
        caller: &Caller,
        id: &str,
        container: &str,
    ) -> Result<(), ControlError> {
        if container.is_empty() {
            return Ok(());
        }
        let name = self.control.get(&caller.principal, id).await?.spec.container_name;
        if name == container {
            return Ok(());
        }
        let problem = format!("the sandbox has no container {container:?}");
        Err(Invalid::new("container", problem, format!("none, or {name:?}")).into())
    }
}

/// What a listing asks for; `None` where nothing can match.
fn list_filter(request: wire::ListSandboxesRequest) -> Result<Option<ListFilter>, Invalid> {
    let page_size = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE_SIZE,
        Ok(size) => size.min(MAX_PAGE_SIZE),
        Err(_) => {
            let problem = format!("{} is negative", request.page_size);
            return Err(Invalid::new("page_size", problem, format!("0 to {MAX_PAGE_SIZE}")));
        }
    };
    let descending = match wire::SortDirection::try_from(request.sort_direction) {
        Ok(wire::SortDirection::Ascending) => false,
        Ok(wire::SortDirection::Descending | wire::SortDirection::Unspecified) => true,
        Err(_) => {
            let problem = format!("{} is not a direction", request.sort_direction);
            return Err(Invalid::new("sort_direction", problem, "a value of SortDirection"));
        }
    };
    let state = match request.state {
        0 => None,
        number => match state_from_message(number)? {
            Some(state) => Some(state),
            None => return Ok(None),
        },
    };
    let elsewhere = !request.runner_ids.is_empty() && !request.runner_ids.iter().any(|id| id == RUNNER_ID);
    if elsewhere || !request.volume_ids.is_empty() {
        return Ok(None);
    }
    Ok(Some(ListFilter {
        tags: request.tags,
        state,
        show_terminated: request.show_terminated,
        as_shown: true,
        page_size,
        page_token: request.page_token,
        descending,
        ownership: None,
    }))
}
