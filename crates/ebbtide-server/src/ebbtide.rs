//! `ebbtide.v1`: what Ebbtide's own clients need beyond the public protocol.

use ebbtide_control::Control;
use ebbtide_model::MadeOf;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::ebbtide_service_server::EbbtideService;
use ebbtide_proto::{PROTOCOL_VERSION, Shown, sandbox_message};
use tokio::sync::watch;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::caller::Caller;
use crate::ending::Ending;
use crate::{ServerConfig, descriptions, errors, events, pause, purge, transfer};

pub(crate) struct Ebbtide {
    pub(crate) control: Control,
    pub(crate) shown: Shown,
    info: own::InfoResponse,
    pub(crate) ending: Ending,
    end_everything: watch::Sender<bool>,
}

impl Ebbtide {
    pub(crate) fn new(
        config: &ServerConfig,
        control: Control,
        ending: Ending,
        end_everything: watch::Sender<bool>,
    ) -> Self {
        let info = own::InfoResponse {
            version: config.version.clone(),
            home_id: config.home.clone(),
            state_dir: config.state_dir.to_string_lossy().into_owned(),
            pid: std::process::id(),
            protocol_version: PROTOCOL_VERSION,
        };
        let shown = Shown { default_resources: config.default_resources };
        Self { control, shown, info, ending, end_everything }
    }
}

#[tonic::async_trait]
impl EbbtideService for Ebbtide {
    async fn info(&self, request: Request<own::InfoRequest>) -> Result<Response<own::InfoResponse>, Status> {
        let mut info = self.info.clone();
        if !Caller::from_request(&request)?.is_local() {
            // What is on this machine is of no use elsewhere, except to somebody who looks for a way in.
            info.state_dir.clear();
            info.pid = 0;
        }
        Ok(Response::new(info))
    }

    async fn wait(&self, request: Request<own::WaitRequest>) -> Result<Response<wire::Sandbox>, Status> {
        let caller = Caller::from_request(&request)?;
        let id = request.into_inner().sandbox_id;
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            record = self.control.wait(&caller.principal, &id) => {
                let record = record.map_err(errors::control)?;
                Ok(Response::new(sandbox_message(record, &self.shown)))
            }
            () = ending.begun() => Err(errors::ending()),
        }
    }

    async fn sandbox_image(
        &self,
        request: Request<own::SandboxImageRequest>,
    ) -> Result<Response<own::SandboxImageResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let id = request.into_inner().sandbox_id;
        let record = self.control.get(&caller.principal, &id).await.map_err(errors::control)?;
        let MadeOf { digest, command } = record.made_of.unwrap_or_default();
        Ok(Response::new(own::SandboxImageResponse { digest: digest.unwrap_or_default(), command }))
    }

    async fn describe(
        &self,
        request: Request<own::DescribeRequest>,
    ) -> Result<Response<own::Description>, Status> {
        descriptions::describe(self, request).await
    }

    async fn list_descriptions(
        &self,
        request: Request<own::ListDescriptionsRequest>,
    ) -> Result<Response<own::ListDescriptionsResponse>, Status> {
        descriptions::list(self, request).await
    }

    async fn pause(&self, request: Request<own::PauseRequest>) -> Result<Response<own::Description>, Status> {
        pause::pause(self, request).await
    }

    async fn resume(
        &self,
        request: Request<own::ResumeRequest>,
    ) -> Result<Response<own::Description>, Status> {
        pause::resume(self, request).await
    }

    async fn plan_purge(
        &self,
        request: Request<own::PlanPurgeRequest>,
    ) -> Result<Response<own::PurgePlan>, Status> {
        purge::plan(self, request)
    }

    async fn confirm_purge(
        &self,
        request: Request<own::ConfirmPurgeRequest>,
    ) -> Result<Response<own::PurgeResult>, Status> {
        purge::confirm(self, request).await
    }

    async fn events(
        &self,
        request: Request<own::EventsRequest>,
    ) -> Result<Response<BoxStream<own::Event>>, Status> {
        events::stream(self, request)
    }

    async fn read_file(
        &self,
        request: Request<own::ReadFileRequest>,
    ) -> Result<Response<BoxStream<own::ReadFilePiece>>, Status> {
        transfer::read_file(self, request).await
    }

    async fn write_file(
        &self,
        request: Request<Streaming<own::WriteFilePiece>>,
    ) -> Result<Response<own::WriteFileResponse>, Status> {
        transfer::write_file(self, request).await
    }

    async fn pack(
        &self,
        request: Request<own::PackRequest>,
    ) -> Result<Response<BoxStream<own::PackPiece>>, Status> {
        transfer::pack(self, request).await
    }

    async fn unpack(
        &self,
        request: Request<Streaming<own::UnpackPiece>>,
    ) -> Result<Response<own::UnpackResponse>, Status> {
        transfer::unpack(self, request).await
    }

    async fn shutdown(
        &self,
        request: Request<own::ShutdownRequest>,
    ) -> Result<Response<own::ShutdownResponse>, Status> {
        Caller::from_request(&request)?.require_local("the daemon is shut down")?;
        // A task of its own: once begun it is finished, whether or not the client stays to hear of it.
        let (control, end_everything) = (self.control.clone(), self.end_everything.clone());
        let shutdown = async move {
            let ended = control.shutdown().await;
            if ended.is_ok() {
                end_everything.send_replace(true);
            }
            ended
        };
        match tokio::spawn(shutdown.in_current_span()).await {
            Ok(Ok(())) => Ok(Response::new(own::ShutdownResponse {})),
            Ok(Err(error)) => Err(errors::control(error)),
            Err(error) => Err(errors::internal(&format!("the shutdown was cut off: {error}"))),
        }
    }
}
