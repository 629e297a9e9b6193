//! Owners as the server sees them: a process at the other end of the socket, and somebody elsewhere.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ebbtide_model::{LEASE_HEADER, ORPHAN_GRACE_ANNOTATION};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::OwnershipKind;
use ebbtide_proto::ebbtide::v1::adopt_request::Owner as Adopter;
use ebbtide_proto::ebbtide::v1::hold_request::Request as Wish;
use ebbtide_proto::ebbtide::v1::hold_response::Response as Answer;
use ebbtide_proto::ebbtide::v1::lease_service_client::LeaseServiceClient;
use ebbtide_proto::{ADOPTABLE_UNTIL_ANNOTATION, OWNER_ANNOTATION, OWNERSHIP_ANNOTATION};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncBufReadExt as _;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, SOON, field, reason};
use crate::network::{Bearer, Site, own as own_client, sandboxes};

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

/// The owner that is killed: another process, which holds a lease, makes a sandbox, and hands its connection on to a
/// child of its own.
struct Owner {
    process: Child,
    sandbox: String,
    token: String,
    child: Pid,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = kill_process(self.child, Signal::KILL);
    }
}

const SOCKET: &str = "EBBTIDE_TEST_SOCKET";

#[tokio::test]
#[ignore = "the owner that is killed; started by other tests"]
async fn owner() {
    let socket = std::env::var_os(SOCKET).unwrap();
    let stream = UnixStream::connect(Path::new(&socket)).await.unwrap();
    rustix::io::fcntl_setfd(stream.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let channel = channel(stream).await;
    let held = hold!(LeaseServiceClient::new(channel.clone()), wish(open(0))).await.unwrap();
    let mut sandboxes = wire::sandbox_service_client::SandboxServiceClient::new(channel);
    let token = &held.held.token;
    let id = id_of(sandboxes.create_sandbox(with_lease(wanted(60), token)).await.unwrap());
    let mut child = Command::new("sleep");
    child.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    println!("owner {id} {token} {} {}", held.held.local, child.id());
    // For ever: it is killed.
    std::future::pending::<()>().await;
    child.wait().unwrap();
}

async fn start_owner(daemon: &Daemon) -> Owner {
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leases::owner", "--ignored", "--nocapture"])
        .env(SOCKET, &daemon.config.socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(owner.stdout.take().unwrap()).lines();
    let told = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it says what it owns");
            if let Some(words) = line.split_once("owner ").map(|(_, words)| words.to_owned()) {
                return words;
            }
        }
    };
    let words = timeout(SOON, told).await.unwrap();
    let [sandbox, token, local, child] = words.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(local, "true");
    let (sandbox, token) = (sandbox.to_owned(), token.to_owned());
    let child = Pid::from_raw(child.parse().unwrap()).unwrap();
    Owner { process: owner, sandbox, token, child }
}

#[tokio::test]
async fn a_killed_owner_is_noticed_within_a_second_although_a_child_of_it_holds_the_connection() {
    let daemon = Daemon::start().await;
    let mut owner = start_owner(&daemon).await;
    let record = until(&daemon, &owner.sandbox, "owned", SOON).await;
    let process = record.ownership.holder().unwrap().process.unwrap();
    assert_eq!(Some(process.pid), owner.process.id());
    owner.process.start_kill().unwrap();
    let killed = Instant::now();
    until(&daemon, &owner.sandbox, "orphaned", Duration::from_secs(1)).await;
    assert!(killed.elapsed() < Duration::from_secs(1));

    // Any client sees it, and anybody of the same user can take it over.
    let mut client = daemon.client().await;
    let shown = client.get(&owner.sandbox).await.unwrap().spec.unwrap().annotations;
    assert_eq!(shown[OWNERSHIP_ANNOTATION], "orphaned");
    assert!(shown[OWNER_ANNOTATION].contains("a test"), "{shown:?}");
    assert!(shown[ADOPTABLE_UNTIL_ANNOTATION].ends_with('Z'), "{shown:?}");
    let request =
        own::ListDescriptionsRequest { ownership: OwnershipKind::Orphaned.into(), ..Default::default() };
    let orphans = client.own.list_descriptions(request.clone()).await.unwrap().into_inner().descriptions;
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].ownership.as_ref().unwrap().reason, "process_ended");
    let channel = local(&daemon).await;
    let mut leases = LeaseServiceClient::new(channel);
    let held = hold!(leases, wish(open(0))).await.unwrap();
    let adopt = own::AdoptRequest { sandbox_id: owner.sandbox.clone(), owner: None };
    let adopted = leases.adopt(with_lease(adopt, &held.held.token)).await.unwrap().into_inner();
    assert!(adopted.ownership.unwrap().holder.unwrap().mine);
    assert!(client.own.list_descriptions(request).await.unwrap().into_inner().descriptions.is_empty());
    let shown = client.get(&owner.sandbox).await.unwrap().spec.unwrap().annotations;
    assert!(!shown.contains_key(OWNERSHIP_ANNOTATION));
}

#[tokio::test]
async fn an_owner_that_is_stopped_by_a_debugger_is_alive() {
    let daemon = Daemon::start().await;
    let mut owner = start_owner(&daemon).await;
    let pid = Pid::from_raw(owner.process.id().unwrap() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    until(&daemon, &owner.sandbox, "owned", Duration::from_millis(10)).await;
    // Its token is its own: another process that has got hold of it cannot hold the lease.
    let refused = hold!(LeaseServiceClient::new(local(&daemon).await), wish(resume(&owner.token)));
    assert_eq!(reason(&refused.await.map(|_| ()).unwrap_err()), "EBBTIDE_LEASE_INVALID");
    kill_process(pid, Signal::KILL).unwrap();
    until(&daemon, &owner.sandbox, "orphaned", Duration::from_secs(1)).await;
    owner.process.wait().await.unwrap();
}

#[tokio::test]
async fn an_owner_elsewhere_whose_connection_is_cut_comes_back_in_time_with_its_token() {
    let site = Site::start().await;
    let bearer = format!("Bearer {}", site.key("one"));
    let connect = || async {
        let channel = site.channel().await;
        let leases = LeaseServiceClient::with_interceptor(channel.clone(), Bearer(Some(bearer.clone())));
        (leases, sandboxes(&channel, Some(&bearer)))
    };
    let (mut leases, mut client) = connect().await;
    let held = hold!(leases, wish(open(0))).await.unwrap();
    assert!(!held.held.local);
    assert_eq!(held.held.grace_seconds, 60);
    let token = held.held.token.clone();
    let [kept, short] = [60, 1].map(|grace| with_lease(wanted(grace), &token));
    let (kept, short) = (
        id_of(client.create_sandbox(kept).await.unwrap()),
        id_of(client.create_sandbox(short).await.unwrap()),
    );
    // With its key and from its own connections, not otherwise.
    let other = format!("Bearer {}", site.key("two"));
    let mut theirs = LeaseServiceClient::with_interceptor(site.channel().await, Bearer(Some(other)));
    let refused = hold!(theirs, wish(resume(&token))).await.map(|_| ()).unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "EBBTIDE_LEASE_INVALID")
    );
    drop((held, leases, client));
    for id in [&kept, &short] {
        until(&site.daemon, id, "orphaned", SOON).await;
    }
    // The one with the short grace goes, the other one is its owner's again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (mut leases, client) = connect().await;
    let mut held = hold!(leases, wish(resume(&token))).await.unwrap();
    until(&site.daemon, &kept, "owned", SOON).await;
    let ended = until(&site.daemon, &short, "orphaned", SOON).await;
    assert_eq!(ended.reason, Some(ebbtide_model::TerminationReason::OwnerGone));
    // Let go, it proves nothing any more.
    held.wishes.send(wish(Wish::Release(own::Release {}))).await.unwrap();
    assert!(held.next().await.unwrap().is_none());
    until(&site.daemon, &kept, "orphaned", SOON).await;
    let refused = hold!(leases, wish(resume(&token))).await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID");
    drop(client);
}

#[tokio::test]
async fn a_key_that_is_revoked_loses_its_leases() {
    let site = Site::start().await;
    let key = site.keys.create("one", "").unwrap();
    let bearer = format!("Bearer {}", key.secret);
    let channel = site.channel().await;
    let mut leases = LeaseServiceClient::with_interceptor(channel.clone(), Bearer(Some(bearer.clone())));
    let held = hold!(leases, wish(open(0))).await.unwrap();
    let request = with_lease(wanted(60), &held.held.token);
    let id = id_of(sandboxes(&channel, Some(&bearer)).create_sandbox(request).await.unwrap());
    site.keys.revoke(&key.record.id).unwrap();
    until(&site.daemon, &id, "orphaned", SOON).await;
}

#[tokio::test]
async fn a_daemon_that_goes_takes_no_owner_with_it() {
    let daemon = Daemon::start().await;
    let site = Site::start().await;
    let bearer = format!("Bearer {}", site.key("one"));
    let mut leases = LeaseServiceClient::with_interceptor(site.channel().await, Bearer(Some(bearer)));
    let mut held = hold!(leases, wish(open(0))).await.unwrap();
    let token = held.held.token.clone();
    let one = ebbtide_model::Principal::organisation("one").unwrap();
    let spec = ebbtide_model::SandboxSpec::new("host");
    let record = site.daemon.control.create_under(&one, spec, "", Some(&token)).await.unwrap();
    let Site { daemon: served, .. } = site;
    let control = served.control.clone();
    drop(served.tell);
    let told = held.next().await.unwrap_err();
    assert_eq!((told.code(), reason(&told).as_str()), (Code::Unavailable, "CWSANDBOX_BACKEND_UNAVAILABLE"));
    timeout(SOON, served.task).await.unwrap().unwrap();
    assert_eq!(control.get(&one, record.id.as_str()).await.unwrap().ownership.kind(), "owned");
    drop(daemon);
}

#[tokio::test]
async fn hostile_messages_are_refused_by_name_and_leave_nothing() {
    let daemon = Daemon::start().await;
    let mut leases = LeaseServiceClient::new(local(&daemon).await);
    let long = "x".repeat(257);
    for (first, named) in [
        (own::HoldRequest { request: None }, "request"),
        (wish(Wish::Heartbeat(own::Heartbeat {})), "request"),
        (wish(Wish::Release(own::Release {})), "request"),
        (wish(open(4)), "open.heartbeat_seconds"),
        (wish(open(3601)), "open.heartbeat_seconds"),
        (wish(Wish::Open(own::Open { label: long, heartbeat_seconds: 0 })), "label"),
        (wish(Wish::Open(own::Open { label: "a\u{7}".to_owned(), heartbeat_seconds: 0 })), "label"),
    ] {
        let refused = hold!(leases, first).await.map(|_| ()).unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, named));
    }
    for token in ["", "x", &"0".repeat(64), &"f".repeat(1 << 20)] {
        let refused = hold!(leases, wish(resume(token))).await.map(|_| ()).unwrap_err();
        assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID");
    }
    // A second first message loses the lease.
    let mut held = hold!(leases, wish(open(5))).await.unwrap();
    held.wishes.send(wish(Wish::Heartbeat(own::Heartbeat {}))).await.unwrap();
    assert!(matches!(held.next().await.unwrap().unwrap().response, Some(Answer::Heartbeat(_))));
    held.wishes.send(wish(open(0))).await.unwrap();
    assert_eq!(field(&held.next().await.unwrap_err()), "request");
    // A connection holds so many and no more, and a place that is given back can be taken.
    let mut places = Vec::new();
    for _ in 0..16 {
        places.push(hold!(leases, wish(open(0))).await.unwrap());
    }
    let refused = hold!(leases, wish(open(0))).await.map(|_| ()).unwrap_err();
    assert_eq!(field(&refused), "lease");
    drop(places.pop());
    let again = async {
        while hold!(leases, wish(open(0))).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn only_who_may_takes_a_sandbox_over() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut leases = LeaseServiceClient::new(local(&daemon).await);
    let adopt = |owner| own::AdoptRequest { sandbox_id: id.clone(), owner };
    let refused = leases.adopt(adopt(None)).await.unwrap_err();
    assert_eq!(field(&refused), "owner");
    let refused = leases.adopt(with_lease(adopt(None), "forged")).await.unwrap_err();
    assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID");
    let refused = client.sandboxes.create_sandbox(with_lease(wanted(1), "forged")).await.unwrap_err();
    assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID");
    for pid in [0, 1 << 30] {
        let process = Adopter::Process(own::Process { pid, start_time: 1 });
        assert_eq!(field(&leases.adopt(adopt(Some(process))).await.unwrap_err()), "owner.process");
    }
    let never =
        own::AdoptRequest { sandbox_id: "never".to_owned(), owner: Some(Adopter::Nobody(own::Nobody {})) };
    assert_eq!(reason(&leases.adopt(never).await.unwrap_err()), "CWSANDBOX_SANDBOX_NOT_FOUND");

    // One wins, and the other one is told who.
    let [winner, loser] =
        [hold!(leases, wish(open(0))).await.unwrap(), hold!(leases, wish(open(0))).await.unwrap()];
    leases.adopt(with_lease(adopt(None), &winner.held.token)).await.unwrap();
    // Of one process, so one owner.
    leases.adopt(with_lease(adopt(None), &loser.held.token)).await.unwrap();
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start_time = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let process = Adopter::Process(own::Process { pid: child.id(), start_time });
    let refused = leases.adopt(adopt(Some(process))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "EBBTIDE_SANDBOX_OWNED")
    );
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["sandbox_id"], id);
    assert!(info.metadata["owner"].contains("a test"), "{info:?}");
    let detach = own::DetachRequest { sandbox_id: id.clone() };
    assert_eq!(kind(&leases.detach(detach).await.unwrap().into_inner()), OwnershipKind::Detached);
    let adopted = leases.adopt(adopt(Some(process))).await.unwrap().into_inner();
    assert_eq!(kind(&adopted), OwnershipKind::Owned);
    child.kill().unwrap();
    until(&daemon, &id, "orphaned", Duration::from_secs(1)).await;
    child.wait().unwrap();
    client.delete(&id).await.unwrap();
    client.wait(&id).await.unwrap();
    let ended = leases.adopt(adopt(Some(Adopter::Nobody(own::Nobody {})))).await.unwrap_err();
    assert_eq!(reason(&ended), "CWSANDBOX_SANDBOX_NOT_RUNNING");
}

#[tokio::test]
async fn nobody_over_the_network_names_a_process_of_this_machine() {
    let site = Site::start().await;
    let key = site.key("one");
    let channel = site.channel().await;
    let id =
        crate::network::create(&mut sandboxes(&channel, Some(&format!("Bearer {key}"))), &[]).await.unwrap();
    let mut leases =
        LeaseServiceClient::with_interceptor(channel.clone(), Bearer(Some(format!("Bearer {key}"))));
    let process = Adopter::Process(own::Process { pid: std::process::id(), start_time: 1 });
    let request = own::AdoptRequest { sandbox_id: id.clone(), owner: Some(process) };
    assert_eq!(field(&leases.adopt(request).await.unwrap_err()), "owner.process");
    let described = own_client(&channel, &key)
        .describe(own::DescribeRequest { sandbox_id: id })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kind(&described), OwnershipKind::Unowned);
    assert_eq!(described.principal, "org:one");
}

#[tokio::test]
async fn descriptions_come_a_page_at_a_time_and_by_kind() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut leases = LeaseServiceClient::new(local(&daemon).await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(client.sandbox().await);
    }
    for id in &ids[..2] {
        leases.detach(own::DetachRequest { sandbox_id: id.clone() }).await.unwrap();
    }
    client.delete(&ids[1]).await.unwrap();
    client.wait(&ids[1]).await.unwrap();
    let pages = async |mut request: own::ListDescriptionsRequest| {
        let (mut client, mut found) = (daemon.client().await, Vec::new());
        loop {
            let page = client.own.list_descriptions(request.clone()).await.unwrap().into_inner();
            assert!(page.descriptions.len() <= 2);
            found.extend(page.descriptions.into_iter().map(|one| one.sandbox.unwrap().sandbox_id));
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    };
    let request = own::ListDescriptionsRequest { page_size: 2, ..Default::default() };
    let detached =
        own::ListDescriptionsRequest { ownership: OwnershipKind::Detached.into(), ..request.clone() };
    assert_eq!(pages(request.clone()).await, [&ids[..1], &ids[2..]].concat());
    assert_eq!(pages(detached.clone()).await, &ids[..1]);
    assert_eq!(pages(own::ListDescriptionsRequest { show_terminated: true, ..detached }).await, &ids[..2]);
    let unknown = own::ListDescriptionsRequest { ownership: 99, ..request };
    assert_eq!(field(&client.own.list_descriptions(unknown).await.unwrap_err()), "ownership");
    let ended = client.own.describe(own::DescribeRequest { sandbox_id: ids[1].clone() }).await.unwrap();
    assert_eq!(ended.into_inner().end.unwrap().reason, "stopped");
}

#[tokio::test]
async fn a_daemon_that_has_stood_still_does_not_take_that_for_the_silence_of_an_owner() {
    let daemon = Daemon::start().await;
    let mut leases = LeaseServiceClient::new(local(&daemon).await);
    let mut held = hold!(leases, wish(open(5))).await.unwrap();
    // Longer than three heartbeats, and the daemon is on this thread.
    std::thread::sleep(Duration::from_secs(17));
    tokio::time::sleep(Duration::from_millis(200)).await;
    held.wishes.send(wish(Wish::Heartbeat(own::Heartbeat {}))).await.unwrap();
    assert!(matches!(held.next().await.unwrap().unwrap().response, Some(Answer::Heartbeat(_))));
}
