//! What ends a call that its client would let go on: its deadline, and the end of its key.

use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use wire::exec_stream_request::Message as Input;
use wire::sandbox_service_client::SandboxServiceClient;

use crate::daemon::{Daemon, SOON, reason};
use crate::exec::{Running, gone, init, request};
use crate::network::{self, Keyed, Site};

async fn exec(client: &mut SandboxServiceClient<Keyed>, id: &str, argv: &[&str]) -> Result<Running, Status> {
    let (input, queue) = mpsc::channel(8);
    input.send(request(Input::Init(init(id, argv)))).await.unwrap();
    let output = client.stream_exec(ReceiverStream::new(queue)).await?.into_inner();
    Ok(Running { input: Some(input), output })
}

#[tokio::test]
async fn a_deadline_ends_a_command_whose_client_does_not_read() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let (input, queue) = mpsc::channel(1);
    input.send(request(Input::Init(init(&id, &["sh", "-c", "echo $$; seq 1 9000000"])))).await.unwrap();
    let mut call = Request::new(ReceiverStream::new(queue));
    call.metadata_mut().insert("grpc-timeout", "700m".parse().unwrap());
    let output = client.sandboxes.stream_exec(call).await.unwrap().into_inner();
    let mut running = Running { input: Some(input), output };
    let pid = running.pid().await;
    gone(&mut client, &id, pid.lines().next().unwrap()).await;
    let told = async {
        loop {
            if let Err(status) = running.next().await {
                return status;
            }
        }
    };
    let late = timeout(SOON, told).await.expect("the client is told");
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "CWSANDBOX_COMMAND_TIMEOUT"));
}

#[tokio::test]
async fn a_deadline_ends_a_stream_of_events_that_nothing_comes_on() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut call = Request::new(own::EventsRequest { follow: true, ..Default::default() });
    call.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let mut events = client.own.events(call).await.unwrap().into_inner();
    let late = timeout(SOON, events.message()).await.expect("it ends").unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_goes_on_under_a_key_ends_when_it_is_revoked_and_nothing_else_does() {
    let site = Site::start().await;
    let channel = site.channel().await;
    let [lost, kept] = ["one", "one"].map(|organization| site.keys.create(organization, "").unwrap());
    let [mut losing, mut keeping] =
        [&lost, &kept].map(|key| network::sandboxes(&channel, Some(&format!("Bearer {}", key.secret))));
    let id = network::create(&mut keeping, &[]).await.unwrap();
    let mut running = exec(&mut losing, &id, &["sh", "-c", "echo $$; sleep 1000"]).await.unwrap();
    let mut other = exec(&mut keeping, &id, &["cat"]).await.unwrap();
    let _pid = (running.pid().await, other.next().await.unwrap());
    let mut waiting = network::own(&channel, &lost.secret);
    let waiting = {
        let id = id.clone();
        tokio::spawn(async move { waiting.wait(own::WaitRequest { sandbox_id: id }).await.map(drop) })
    };
    // Another change of the file ends nothing.
    site.key("two");
    assert!(timeout(Duration::from_millis(300), running.output.message()).await.is_err());

    site.keys.revoke(&lost.record.id).unwrap();
    for refused in [
        running.next().await.unwrap_err(),
        timeout(SOON, waiting).await.expect("the wait ends").unwrap().unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains("revoked"), "{}", refused.message());
    }
    other.send(Input::Stdin("still here".into())).await;
    other.input = None;
    assert_eq!(other.finish().await.stdout, b"still here");
}
