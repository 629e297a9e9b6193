//! The daemon on the network: a key with every request, and what it opens.

use std::net::SocketAddr;
use std::sync::Arc;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_server::{KeyFile, Keys, NetworkConfig, Server, ServerError};
use own::ebbtide_service_client::EbbtideServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use wire::sandbox_service_client::SandboxServiceClient;

use crate::daemon::{Daemon, SOON, field, reason};

/// A daemon on the network, and the file with its keys.
pub(crate) struct Site {
    pub(crate) daemon: Daemon,
    pub(crate) address: SocketAddr,
    pub(crate) keys: KeyFile,
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let keys = KeyFile::new(path.clone());
        keys.create("nobody", "").unwrap();
        let daemon = Daemon::start_with(|config| config.network = Some(network(Keys::new(None, path)))).await;
        Self { address: daemon.addresses[0], daemon, keys, _dir: dir }
    }

    pub(crate) fn key(&self, organization: &str) -> String {
        self.keys.create(organization, "").unwrap().secret
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}

fn network(keys: Keys) -> NetworkConfig {
    NetworkConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        insecure: false,
        keys: Arc::new(keys),
        tls: None,
    }
}

pub(crate) type Keyed = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) Option<String>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(value).unwrap());
        }
        Ok(request)
    }
}

pub(crate) fn sandboxes(channel: &Channel, authorization: Option<&str>) -> SandboxServiceClient<Keyed> {
    SandboxServiceClient::with_interceptor(channel.clone(), Bearer(authorization.map(str::to_owned)))
}

pub(crate) fn own(channel: &Channel, key: &str) -> EbbtideServiceClient<Keyed> {
    EbbtideServiceClient::with_interceptor(channel.clone(), Bearer(Some(format!("Bearer {key}"))))
}

pub(crate) async fn list(client: &mut SandboxServiceClient<Keyed>) -> Result<Vec<String>, Status> {
    let answer = client.list_sandboxes(wire::ListSandboxesRequest::default()).await?.into_inner();
    Ok(answer.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect())
}

pub(crate) async fn create(
    client: &mut SandboxServiceClient<Keyed>,
    annotations: &[(&str, &str)],
) -> Result<String, Status> {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let spec = wire::SandboxSpec {
        containers: vec![wire::Container::default()],
        annotations: annotations.collect(),
        ..Default::default()
    };
    let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
    let request = wire::CreateSandboxRequest { sandbox, ..Default::default() };
    Ok(client.create_sandbox(request).await?.into_inner().sandbox_id)
}

#[tokio::test]
async fn without_a_key_that_is_known_nothing_is_answered() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let (key, kept) = (site.key("one"), site.keys.list().unwrap());
    let other = if key.ends_with('a') { 'b' } else { 'a' };
    let altered = format!("Bearer {}{other}", &key[..key.len() - 1]);
    let by_id = format!("Bearer ebb_{}_", kept[0].id);
    for wrong in [None, Some(key.as_str()), Some("Bearer"), Some("Bearer x"), Some(&altered), Some(&by_id)] {
        let refused = list(&mut sandboxes(&channel, wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{wrong:?}");
        assert_eq!(reason(&refused), "CWSANDBOX_UNAUTHENTICATED", "{wrong:?}");
    }
    for right in [format!("Bearer {key}"), format!("bearer {key}")] {
        assert!(list(&mut sandboxes(&channel, Some(&right))).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_on_an_open_connection() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let key = site.keys.create("one", "").unwrap();
    let mut client = sandboxes(&channel, Some(&format!("Bearer {}", key.secret)));
    list(&mut client).await.unwrap();
    site.keys.revoke(&key.record.id).unwrap();
    assert_eq!(list(&mut client).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn organisations_and_local_users_see_only_what_is_theirs() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let [one, other] = ["one", "other"].map(|name| format!("Bearer {}", site.key(name)));
    let (mut one, mut other) = (sandboxes(&channel, Some(&one)), sandboxes(&channel, Some(&other)));
    let id = create(&mut one, &[]).await.unwrap();
    assert_eq!(list(&mut one).await.unwrap(), [id.as_str()]);
    assert!(list(&mut other).await.unwrap().is_empty());
    let request = wire::GetSandboxRequest { sandbox_id: id.clone() };
    assert_eq!(reason(&other.get_sandbox(request).await.unwrap_err()), "CWSANDBOX_SANDBOX_NOT_FOUND");
    let mut local = site.daemon.client().await;
    assert_eq!(local.get(&id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_concerns_the_machine_is_not_for_the_network() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let key = site.key("one");
    let mut client = own(&channel, &key);
    let refused = client.shutdown(own::ShutdownRequest {}).await.unwrap_err();
    assert_eq!(reason(&refused), "CWSANDBOX_PERMISSION_DENIED");
    let info = client.info(own::InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.state_dir.as_str(), info.pid), ("", 0));
    let me = std::process::id().to_string();
    let owner = [("ebbtide.dev/owner-pid", me.as_str()), ("ebbtide.dev/owner-start-time", "1")];
    let mut client = sandboxes(&channel, Some(&format!("Bearer {key}")));
    let refused = create(&mut client, &owner).await.unwrap_err();
    assert_eq!(field(&refused), "spec.annotations[ebbtide.dev/owner-pid]");
    assert!(refused.message().contains("network"), "{}", refused.message());
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_own_connection_only() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let key = format!("Bearer {}", site.key("one"));
    let _silent = TcpStream::connect(site.address).await.unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", &[0xff; 70_000]] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    }
    assert!(list(&mut sandboxes(&channel, Some(&key))).await.unwrap().is_empty());
}

#[tokio::test]
async fn those_who_connect_and_say_nothing_do_not_keep_others_out() {
    let site = Site::start().await;
    let key = format!("Bearer {}", site.key("one"));
    let early = site.channel().await;
    list(&mut sandboxes(&early, Some(&key))).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(site.address).await.unwrap());
    }
    let mut late = sandboxes(&site.channel().await, Some(&key));
    timeout(SOON, list(&mut late)).await.expect("an answer").unwrap();
    list(&mut sandboxes(&early, Some(&key))).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(SOON, silent[0].read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the oldest is still there");
}

#[tokio::test]
async fn it_listens_only_where_somebody_can_be_let_in_and_nobody_can_listen_in() {
    let site = Site::start().await;
    let path = site.daemon.config.state_dir.join("other-keys.json");
    let bind = |network: NetworkConfig| {
        let mut config = site.daemon.config.clone();
        config.socket = config.socket.with_extension("other");
        config.network = Some(network);
        Server::bind(config)
    };
    assert!(matches!(bind(network(Keys::new(None, path.clone()))), Err(ServerError::NoKey)));
    KeyFile::new(path.clone()).create("one", "").unwrap();
    let everywhere =
        NetworkConfig { listen: vec![([0, 0, 0, 0], 0).into()], ..network(Keys::new(None, path)) };
    assert!(matches!(bind(everywhere.clone()), Err(ServerError::Plaintext { .. })));
    assert_eq!(bind(NetworkConfig { insecure: true, ..everywhere }).unwrap().addresses().len(), 1);
}

#[tokio::test]
async fn whether_it_serves_is_told_to_everybody_and_until_the_end() {
    let site = Site::start().await;
    let mut health = HealthClient::new(site.channel().await);
    let mut check = async |service: &str| {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("coreweave.sandbox.v1.SandboxService").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let ended = tokio::spawn(async move {
        site.daemon.tell.send(()).unwrap();
        timeout(SOON, site.daemon.task).await.expect("the server ends").unwrap()
    });
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());
    ended.await.unwrap();
}

#[tokio::test]
async fn what_the_services_are_is_told_to_those_with_a_key() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let ask = async |authorization: Option<String>| {
        let mut client = ServerReflectionClient::with_interceptor(channel.clone(), Bearer(authorization));
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = client.server_reflection_info(tokio_stream::iter([question])).await?.into_inner();
        let answer = answers.message().await?.unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
        Ok::<_, Status>(services.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
    };
    assert_eq!(ask(None).await.unwrap_err().code(), Code::Unauthenticated);
    let services = ask(Some(format!("Bearer {}", site.key("one")))).await.unwrap();
    for name in ["coreweave.sandbox.v1.SandboxService", "ebbtide.v1.EbbtideService", "grpc.health.v1.Health"]
    {
        assert!(services.iter().any(|service| service == name), "{name} is not in {services:?}");
    }
}

#[tokio::test]
async fn methods_and_services_that_are_not_there_are_not_implemented() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let key = site.key("one");
    for path in ["/coreweave.sandbox.v1.SandboxService/Fly", "/other.Service/Fly", "/", "/a"] {
        let mut client = tonic::client::Grpc::with_origin(
            InterceptedService::new(channel.clone(), Bearer(Some(format!("Bearer {key}")))),
            http::Uri::from_static("http://ebbtide.invalid"),
        );
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<own::InfoRequest, own::InfoResponse>::default();
        let answer = client
            .unary(Request::new(own::InfoRequest {}), http::uri::PathAndQuery::from_static(path), codec)
            .await;
        let refused = answer.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unimplemented, "CWSANDBOX_NOT_IMPLEMENTED")
        );
    }
}
