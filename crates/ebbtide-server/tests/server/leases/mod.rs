//! Owners as the server sees them: a process at the other end of the socket, and somebody elsewhere.

use std::time::{Duration, Instant};

use ebbtide_model::{LEASE_HEADER, ORPHAN_GRACE_ANNOTATION};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::OwnershipKind;
use ebbtide_proto::ebbtide::v1::hold_request::Request as Wish;
use ebbtide_proto::ebbtide::v1::hold_response::Response as Answer;
use ebbtide_proto::ebbtide::v1::lease_service_client::LeaseServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::daemon::{Daemon, SOON, field, reason};
use crate::network::{Bearer, Site, own as own_client, sandboxes};

// Before the modules, which know it only so.
macro_rules! hold {
    ($client:expr, $first:expr) => {
        async {
            let (wishes, waiting) = mpsc::channel(4);
            wishes.send($first).await.unwrap();
            let mut answers = $client.hold(ReceiverStream::new(waiting)).await?.into_inner();
            let first = timeout(SOON, answers.message()).await.expect("an answer")?.unwrap();
            let Some(Answer::Held(held)) = first.response else { panic!("{first:?}") };
            Ok::<_, Status>(Held { wishes, answers, held })
        }
    };
}

mod adopting;
mod elsewhere;
mod messages;
mod process;

/// A lease as its owner holds it.
struct Held {
    wishes: mpsc::Sender<own::HoldRequest>,
    answers: Streaming<own::HoldResponse>,
    held: own::Held,
}

impl Held {
    async fn next(&mut self) -> Result<Option<own::HoldResponse>, Status> {
        timeout(SOON, self.answers.message()).await.expect("an answer")
    }
}

fn wish(wish: Wish) -> own::HoldRequest {
    own::HoldRequest { request: Some(wish) }
}

fn open(heartbeat_seconds: u32) -> Wish {
    Wish::Open(own::Open { label: "a test".to_owned(), heartbeat_seconds })
}

fn resume(token: &str) -> Wish {
    Wish::Resume(own::Resume { token: token.to_owned(), heartbeat_seconds: 0 })
}

fn with_lease<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(LEASE_HEADER, MetadataValue::try_from(token).unwrap());
    request
}

/// The wish for a sandbox that lives on for `grace` seconds after its owner.
fn wanted(grace: u32) -> wire::CreateSandboxRequest {
    let spec = wire::SandboxSpec {
        containers: vec![wire::Container::default()],
        annotations: [(ORPHAN_GRACE_ANNOTATION.to_owned(), grace.to_string())].into(),
        ..Default::default()
    };
    wire::CreateSandboxRequest {
        sandbox: Some(wire::Sandbox { spec: Some(spec), ..Default::default() }),
        ..Default::default()
    }
}

/// A connection of the socket that can be cut.
async fn local(daemon: &Daemon) -> Channel {
    channel(UnixStream::connect(&daemon.config.socket).await.unwrap()).await
}

async fn channel(stream: UnixStream) -> Channel {
    let mut first = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = first.take().ok_or_else(|| std::io::Error::other("connected only once"));
        async { stream.map(TokioIo::new) }
    });
    Endpoint::from_static("http://ebbtide.invalid").connect_with_connector(connector).await.unwrap()
}

fn id_of(sandbox: tonic::Response<wire::Sandbox>) -> String {
    sandbox.into_inner().sandbox_id
}

fn kind(description: &own::Description) -> OwnershipKind {
    description.ownership.as_ref().unwrap().kind()
}

/// Waits until the sandbox is of `wanted`.
async fn until(daemon: &Daemon, id: &str, wanted: &str, within: Duration) -> ebbtide_model::SandboxRecord {
    let begun = Instant::now();
    loop {
        let me = ebbtide_model::Principal::Uid(rustix::process::getuid().as_raw());
        let principals = [me, ebbtide_model::Principal::organisation("one").unwrap()];
        for principal in &principals {
            if let Ok(record) = daemon.control.get(principal, id).await
                && record.ownership.kind() == wanted
            {
                return record;
            }
        }
        assert!(begun.elapsed() < within, "{id} is not {wanted}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
