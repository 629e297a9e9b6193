//! A daemon for one test, and its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ebbtide_control::{Control, ControlConfig};
use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_server::{ServeEnd, Server, ServerConfig};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::codegen::{BoxFuture, http};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;
use wire::discovery_service_client::DiscoveryServiceClient;
use wire::sandbox_service_client::SandboxServiceClient;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Daemon {
    pub(crate) control: Control,
    pub(crate) config: ServerConfig,
    pub(crate) world: Arc<World>,
    pub(crate) task: JoinHandle<ServeEnd>,
    /// Where it listens on the network.
    pub(crate) addresses: Vec<std::net::SocketAddr>,
    /// Ends the server when it is used or dropped.
    pub(crate) tell: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let world = Arc::<World>::default();
        let engine = ControlConfig::new(at("ledger.db"), "boot-1");
        let mut config = ServerConfig {
            socket: at("ebb.sock"),
            version: "1.2.3".to_owned(),
            home: "abcdefgh".to_owned(),
            state_dir: dir.path().to_owned(),
            idle_exit: None,
            limits: engine.limits.clone(),
            default_resources: engine.default_resources,
            network: None,
        };
        change(&mut config);
        let control = Control::open(engine, Arc::new(FakeDriver::on(Arc::clone(&world)))).await.unwrap();
        let (tell, told) = oneshot::channel::<()>();
        let server = Server::bind(config.clone()).unwrap();
        let (running, addresses) = (control.clone(), server.addresses());
        let task = tokio::spawn(async move {
            let told = async {
                let _ = told.await;
            };
            server.run(running, told).await.unwrap()
        });
        Self { control, config, world, task, addresses, tell, _dir: dir }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.config.socket).await.unwrap()
    }

    /// A channel that leaves deadlines to the server. (tonic's own cancels the call itself.)
    pub(crate) async fn patient_channel(&self) -> PatientChannel {
        let stream = TokioIo::new(UnixStream::connect(&self.config.socket).await.unwrap());
        let (calls, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        PatientChannel(calls)
    }

    /// How the server ended.
    pub(crate) async fn ended(self) -> ServeEnd {
        timeout(SOON, self.task).await.expect("the server ends").unwrap()
    }
}

pub(crate) struct PatientChannel(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for PatientChannel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) sandboxes: SandboxServiceClient<Channel>,
    pub(crate) own: own::ebbtide_service_client::EbbtideServiceClient<Channel>,
    pub(crate) discovery: DiscoveryServiceClient<Channel>,
}

impl Client {
    /// Connects, once: the channel fails as soon as its connection does.
    pub(crate) async fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let mut first = Some(stream);
        let connector = tower::service_fn(move |_| {
            let stream = first.take().ok_or_else(|| std::io::Error::other("connected only once"));
            async { stream.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://ebbtide.invalid")
            .http2_max_local_error_reset_streams(None)
            .connect_with_connector(connector)
            .await;
        let channel = channel.map_err(std::io::Error::other)?;
        Ok(Self {
            sandboxes: SandboxServiceClient::new(channel.clone()),
            discovery: DiscoveryServiceClient::new(channel.clone()),
            own: own::ebbtide_service_client::EbbtideServiceClient::new(channel),
        })
    }

    /// A sandbox that idles.
    pub(crate) async fn sandbox(&mut self) -> String {
        self.create(|_, _| {}).await.unwrap().sandbox_id
    }

    pub(crate) async fn create(
        &mut self,
        change: impl FnOnce(&mut wire::SandboxSpec, &mut wire::Container),
    ) -> Result<wire::Sandbox, tonic::Status> {
        self.create_as("", change).await
    }

    pub(crate) async fn create_as(
        &mut self,
        request_id: &str,
        change: impl FnOnce(&mut wire::SandboxSpec, &mut wire::Container),
    ) -> Result<wire::Sandbox, tonic::Status> {
        let (mut spec, mut container) = (wire::SandboxSpec::default(), wire::Container::default());
        change(&mut spec, &mut container);
        spec.containers.insert(0, container);
        let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
        let request = wire::CreateSandboxRequest { sandbox, request_id: request_id.to_owned() };
        self.sandboxes.create_sandbox(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn get(&mut self, id: &str) -> Result<wire::Sandbox, tonic::Status> {
        let request = wire::GetSandboxRequest { sandbox_id: id.to_owned() };
        self.sandboxes.get_sandbox(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn delete(&mut self, id: &str) -> Result<wire::DeleteSandboxResponse, tonic::Status> {
        let request = wire::DeleteSandboxRequest { sandbox_id: id.to_owned(), ..Default::default() };
        self.sandboxes.delete_sandbox(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn wait(&mut self, id: &str) -> Result<wire::Sandbox, tonic::Status> {
        let request = own::WaitRequest { sandbox_id: id.to_owned() };
        timeout(SOON, self.own.wait(request)).await.expect("it ends").map(tonic::Response::into_inner)
    }

    pub(crate) async fn info(&mut self) -> Result<own::InfoResponse, tonic::Status> {
        self.own.info(own::InfoRequest {}).await.map(tonic::Response::into_inner)
    }
}

pub(crate) fn state(sandbox: &wire::Sandbox) -> wire::State {
    sandbox.status.as_ref().unwrap().state()
}

/// The reason that travels with a status, trusted or it does not count.
pub(crate) fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(info.domain, "cwsandbox.com");
    info.reason
}

/// The field that a status refuses.
pub(crate) fn field(status: &tonic::Status) -> String {
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

pub(crate) fn socket_mode(path: &PathBuf) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
