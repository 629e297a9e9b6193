//! One request: which service it is for, and how long it has.

use std::convert::Infallible;
use std::sync::Arc;

use ebbtide_control::Control;
use ebbtide_proto::MAX_MESSAGE_BYTES;
use ebbtide_proto::coreweave::sandbox::v1::discovery_service_server::DiscoveryServiceServer;
use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_server::SandboxServiceServer;
use ebbtide_proto::ebbtide::v1::ebbtide_service_server::EbbtideServiceServer;
use ebbtide_proto::ebbtide::v1::lease_service_server::LeaseServiceServer;
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;
use tracing::Instrument as _;

use crate::bounds::Bounds;
use crate::caller::Caller;
use crate::deadline::Deadline;
use crate::discovery::Discovery;
use crate::ebbtide::Ebbtide;
use crate::ending::Ending;
use crate::errors;
use crate::gate::Stranger;
use crate::health::{self, HealthServer, Pulse};
use crate::large_answer::LargeAnswer;
use crate::lease::Leases;
use crate::sandboxes::Sandboxes;
use crate::trace::Trace;
use crate::{ServerConfig, ServerError, reflection};

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// From one on this machine.
    Local(Caller),
    /// From the network; each request has to show whose it is.
    Network(Stranger),
}

/// The services of a daemon. Cheap to clone: each request gets its own.
#[derive(Clone)]
pub(crate) struct Services {
    sandboxes: SandboxServiceServer<Sandboxes>,
    ebbtide: EbbtideServiceServer<Ebbtide>,
    leases: LeaseServiceServer<Leases>,
    discovery: DiscoveryServiceServer<Discovery>,
    /// What every gRPC server has. Answers UNIMPLEMENTED for whatever else is asked for.
    standard: Routes,
}

impl Services {
    pub(crate) fn new(
        config: &ServerConfig,
        control: &Control,
        ending: &Ending,
        end_everything: watch::Sender<bool>,
    ) -> Result<Self, ServerError> {
        let sandboxes = Arc::new(Sandboxes::new(config, control.clone(), ending.clone()));
        let ebbtide = Arc::new(Ebbtide::new(config, control.clone(), ending.clone(), end_everything));
        let standard = Routes::new(HealthServer::new(Pulse::new(ending.clone())));
        Ok(Self {
            sandboxes: SandboxServiceServer::from_arc(sandboxes)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            ebbtide: EbbtideServiceServer::from_arc(ebbtide)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            leases: LeaseServiceServer::new(Leases::new(config, control.clone(), ending.clone())),
            discovery: DiscoveryServiceServer::new(Discovery::new(control.clone())),
            standard: reflection::add(standard)?.prepare(),
        })
    }

    /// Answers a request, and tells the log and the caller which one it was.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        origin: Origin,
    ) -> Result<Response<Body>, Infallible> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let trace = Trace::new(request.headers(), method);
        let response = self.dispatch(request, origin).instrument(trace.span.clone()).await?;
        Ok(trace.answered(response))
    }

    /// Hands a request to its service, within its bounds.
    async fn dispatch(
        mut self,
        mut request: Request<Incoming>,
        origin: Origin,
    ) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let mut parts = path.split('/').skip(1);
        let (service, method) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (caller, admission) = match origin {
            Origin::Local(caller) => (Some(caller), None),
            Origin::Network(_) if service == health::SERVICE_NAME => (None, None),
            Origin::Network(stranger) => match stranger.caller(request.headers()) {
                Ok((caller, admission)) => (Some(caller), Some(admission)),
                Err(status) => return Ok(status.into_http()),
            },
        };
        let deadline = Deadline::read(request.headers());
        let mut bounds = Bounds { deadline, admission, command: matches!(method, "Exec" | "StreamExec") };
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let answer = if service == SandboxServiceServer::<Sandboxes>::NAME {
            self.sandboxes.call(request)
        } else if service == EbbtideServiceServer::<Ebbtide>::NAME {
            self.ebbtide.call(request)
        } else if service == LeaseServiceServer::<Leases>::NAME {
            self.leases.call(request)
        } else if service == DiscoveryServiceServer::<Discovery>::NAME {
            self.discovery.call(request)
        } else {
            Box::pin(self.standard.call(request.map(Body::new)))
        };
        let response = tokio::select! {
            biased;
            response = answer => bounds.hold(LargeAnswer::place(response?)),
            status = bounds.over() => return Ok(status.into_http()),
        };
        Ok(errors::typed_response(response, method))
    }
}
