//! Those who come with what is not theirs, or ask for what nobody gets: each is told what is wrong by name, and nothing
//! comes of it.

use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::tonic_types::StatusExt as _;
use ebbtide_tests::{Keyed, Machine, TestHome, with_key};
use own::adopt_request::Owner;
use own::ebbtide_service_client::EbbtideServiceClient;
use own::hold_request::Request as Wish;
use own::hold_response::Response as Answer;
use own::lease_service_client::LeaseServiceClient;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

use crate::LIMIT;

/// An id as sandboxes have it, of none.
const NEVER: &str = "01jd0000000000000000000000";

/// Somebody with a key, on a connection of their own.
struct Caller {
    leases: LeaseServiceClient<Keyed>,
    sandboxes: SandboxServiceClient<Keyed>,
    own: EbbtideServiceClient<Keyed>,
}

/// A lease, held until this is dropped.
struct Held {
    wishes: mpsc::Sender<own::HoldRequest>,
    answers: Streaming<own::HoldResponse>,
    id: String,
    token: String,
}

impl Caller {
    async fn connect(url: &str, key: &str) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        let keyed = || with_key(&channel, key);
        Self {
            leases: LeaseServiceClient::new(keyed()),
            sandboxes: SandboxServiceClient::new(keyed()),
            own: EbbtideServiceClient::new(keyed()),
        }
    }

    async fn hold(&mut self, first: Wish) -> Result<Held, Status> {
        let (wishes, waiting) = mpsc::channel(4);
        wishes.send(own::HoldRequest { request: Some(first) }).await.unwrap();
        let mut answers = self.leases.hold(ReceiverStream::new(waiting)).await?.into_inner();
        let first = answers.message().await?.unwrap().response;
        let Some(Answer::Held(own::Held { lease_id: id, token, local: false, .. })) = first else {
            panic!("{first:?}")
        };
        Ok(Held { wishes, answers, id, token })
    }

    async fn open(&mut self) -> Held {
        let open = own::Open { label: "a test".to_owned(), heartbeat_seconds: 0 };
        self.hold(Wish::Open(open)).await.unwrap()
    }

    async fn resume(&mut self, token: &str) -> Result<Held, Status> {
        self.hold(Wish::Resume(own::Resume { token: token.to_owned(), heartbeat_seconds: 0 })).await
    }

    async fn create(&mut self, lease: Option<&str>, spec: wire::SandboxSpec) -> Result<String, Status> {
        let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
        let message = wire::CreateSandboxRequest { sandbox, ..Default::default() };
        Ok(self.sandboxes.create_sandbox(with_lease(message, lease)).await?.into_inner().sandbox_id)
    }

    async fn adopt(&mut self, id: &str, lease: Option<&str>, owner: Option<Owner>) -> Result<(), Status> {
        let message = own::AdoptRequest { sandbox_id: id.to_owned(), owner };
        self.leases.adopt(with_lease(message, lease)).await.map(drop)
    }

    /// Everything that can be done to a sandbox by its id: what is refused of it.
    async fn everything(&mut self, id: &str, lease: &str) -> Vec<Status> {
        let sandbox_id = id.to_owned();
        let delete = wire::DeleteSandboxRequest { sandbox_id: sandbox_id.clone(), ..Default::default() };
        let done = [
            self.adopt(id, Some(lease), None).await,
            self.adopt(id, None, Some(Owner::Nobody(own::Nobody {}))).await,
            self.leases.detach(own::DetachRequest { sandbox_id: sandbox_id.clone() }).await.map(drop),
            // Of this `ebb why` and `ebb receipt` tell, too.
            self.own.describe(own::DescribeRequest { sandbox_id: sandbox_id.clone() }).await.map(drop),
            self.own.pause(own::PauseRequest { sandbox_id: sandbox_id.clone() }).await.map(drop),
            self.own.resume(own::ResumeRequest { sandbox_id }).await.map(drop),
            self.sandboxes.delete_sandbox(delete).await.map(drop),
        ];
        done.into_iter().map(Result::unwrap_err).collect()
    }

    /// All that is known of all sandboxes of the caller, but the times.
    async fn all(&mut self) -> Vec<(String, i32, String, i32)> {
        let all = own::ListDescriptionsRequest { show_terminated: true, ..Default::default() };
        let all = self.own.list_descriptions(all).await.unwrap().into_inner().descriptions;
        let told = |one: own::Description| {
            let (sandbox, ownership) = (one.sandbox.unwrap(), one.ownership.unwrap());
            let state = sandbox.status.unwrap_or_default().state;
            let holder = ownership.holder.unwrap_or_default().lease_id;
            (sandbox.sandbox_id, ownership.kind, holder, state)
        };
        all.into_iter().map(told).collect()
    }

    /// Waits until who stands for a sandbox is of this kind; the lease of its holder.
    async fn becomes(&mut self, id: &str, kind: own::OwnershipKind) -> String {
        let wanted = async {
            loop {
                let request = own::DescribeRequest { sandbox_id: id.to_owned() };
                let described = self.own.describe(request).await.unwrap().into_inner();
                let ownership = described.ownership.unwrap();
                if ownership.kind() == kind {
                    return ownership.holder.unwrap_or_default().lease_id;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, wanted).await.unwrap_or_else(|_| panic!("{id} is not {kind:?}"))
    }
}

/// The wish for a sandbox with these annotations.
fn wanted(annotations: &[(&str, &str)]) -> wire::SandboxSpec {
    wire::SandboxSpec {
        containers: vec![wire::Container { image: "host".to_owned(), ..Default::default() }],
        annotations: annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..Default::default()
    }
}

fn with_lease<T>(message: T, lease: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = lease {
        request.metadata_mut().insert("ebbtide-lease", token.parse().unwrap());
    }
    request
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn field(refused: &Status) -> String {
    let fields = refused.get_details_bad_request().map(|request| request.field_violations);
    fields.unwrap_or_default().into_iter().next().map(|violation| violation.field).unwrap_or_default()
}

fn key(home: &TestHome, organization: &str) -> String {
    let made = home.ebb(["key", "create", "--json", "--organization", organization]).run().json();
    made["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_not_the_callers_or_nobodys_to_have_is_refused_by_name_and_changes_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let (ours, theirs) = (key(&home, "ours"), key(&home, "theirs"));
    let serve = home.ebb(["serve", "--json", "--listen", "127.0.0.1:0"]).limit(LIMIT * 3).spawn();
    let ready: Value = serde_json::from_str(&serve.first_line(LIMIT)).unwrap();
    let url = ready["listen"][0].as_str().unwrap();
    let mut owner = Caller::connect(url, &ours).await;
    let mut colleague = Caller::connect(url, &ours).await;
    let mut stranger = Caller::connect(url, &theirs).await;

    let mut held = owner.open().await;
    let (second, strange) = (colleague.open().await, stranger.open().await);
    let owned = owner.create(Some(&held.token), wanted(&[])).await.unwrap();
    let free = owner.create(None, wanted(&[])).await.unwrap();
    let running = async |caller: &mut Caller| {
        let ready = wire::State::Running as i32;
        while !caller.all().await.iter().all(|one| one.3 == ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, running(&mut owner)).await.unwrap();
    let before = owner.all().await;
    assert_eq!(before.len(), 2, "{before:?}");

    // What is another organisation's is as what never was.
    let foreign = [(&owned, &strange.token), (&free, &strange.token), (&free, &held.token)];
    for (id, token) in foreign {
        for refused in stranger.everything(id, token).await {
            // Which of the two is found out first tells nothing.
            let why = reason(&refused);
            assert!(why == "CWSANDBOX_SANDBOX_NOT_FOUND" || why == "EBBTIDE_LEASE_INVALID", "{refused:?}");
        }
    }
    for id in [NEVER, "never", "../x", &"x".repeat(1 << 16)] {
        for refused in owner.everything(id, &held.token).await {
            assert_eq!(reason(&refused), "CWSANDBOX_SANDBOX_NOT_FOUND", "{refused:?}");
        }
    }

    // A token that is none, and another organisation's.
    let forged = ["", "x", &"0".repeat(64), &held.id];
    for (caller, token) in forged.iter().map(|token| (true, *token)).chain([(false, &*held.token)]) {
        let caller = if caller { &mut colleague } else { &mut stranger };
        let mine = caller.resume(token).await.map(drop).unwrap_err();
        assert_eq!(reason(&mine), "EBBTIDE_LEASE_INVALID", "{mine:?}");
        let made = caller.create(Some(token), wanted(&[])).await.unwrap_err();
        assert_eq!(reason(&made), "EBBTIDE_LEASE_INVALID", "{made:?}");
    }
    let refused = colleague.adopt(&free, Some("forged"), None).await.unwrap_err();
    assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID", "{refused:?}");

    // Somebody has it already; the answer says who and since when.
    let refused = colleague.adopt(&owned, Some(&second.token), None).await.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), &info.metadata["sandbox_id"]), ("EBBTIDE_SANDBOX_OWNED", &owned));
    assert_eq!(info.metadata["owner"], "a test");
    assert!(refused.message().contains(&info.metadata["owned_since"]), "{refused:?}");
    // Nobody over the network names a process of the daemon's machine.
    let process = Owner::Process(own::Process { pid: std::process::id(), start_time: 1 });
    let refused = owner.adopt(&free, None, Some(process)).await.unwrap_err();
    assert_eq!(field(&refused), "owner.process", "{refused:?}");
    let refused = owner.adopt(&free, None, None).await.unwrap_err();
    assert_eq!(field(&refused), "owner", "{refused:?}");

    // What no daemon grants.
    let (grace, keep) = ("ebbtide.dev/orphan-grace-seconds", "ebbtide.dev/keep");
    let refusals = [
        (grace, "-1"),
        (grace, "NaN"),
        (grace, "inf"),
        (grace, "1e3"),
        (grace, "99999999999999999999"),
        (grace, "99999999"),
        (keep, "sometimes"),
        ("ebbtide.dev/keep-for-seconds", "0"),
        ("ebbtide.dev/keep-as", "a-memory"),
        ("ebbtide.dev/detach", "perhaps"),
        ("ebbtide.dev/idle-timeout-seconds", "-1"),
        ("ebbtide.dev/on-idle", "stop"),
    ];
    for (annotation, value) in refusals {
        let refused = owner.create(None, wanted(&[(annotation, value)])).await.unwrap_err();
        assert_eq!(reason(&refused), "CWSANDBOX_INVALID_REQUEST", "{refused:?}");
        assert!(field(&refused).contains(annotation), "{annotation}={value}: {refused:?}");
    }
    let detached = wanted(&[("ebbtide.dev/detach", "true")]);
    let endless = wire::SandboxSpec { max_lifetime_seconds: i32::MAX, ..detached };
    let refused = owner.create(None, endless).await.unwrap_err();
    assert!(field(&refused).contains("max_lifetime_seconds"), "{refused:?}");

    // A plan of others, and one that is of yesterday.
    let all = |all_owners| own::PlanPurgeRequest { tags: Vec::new(), all: true, all_owners };
    let plan = stranger.own.plan_purge(all(false)).await.unwrap().into_inner();
    assert!(plan.sandboxes.is_empty(), "{plan:?}");
    let refused = owner.own.plan_purge(all(true)).await.unwrap_err();
    assert_eq!(reason(&refused), "CWSANDBOX_PERMISSION_DENIED", "{refused:?}");
    for hash in [plan.hash, String::new(), "0".repeat(64)] {
        let confirm = own::ConfirmPurgeRequest { plan: Some(all(false)), hash };
        let refused = owner.own.confirm_purge(confirm).await.unwrap_err();
        assert_eq!(reason(&refused), "EBBTIDE_PLAN_STALE", "{refused:?}");
    }
    assert_eq!(owner.all().await, before, "something that was refused has had an effect");
    assert!(stranger.all().await.is_empty());

    // The owner may come back before it is missed: of two streams with its token the later one counts.
    let again = colleague.resume(&held.token).await.unwrap();
    assert_eq!(again.id, held.id);
    drop(held.wishes);
    assert!(!matches!(held.answers.message().await, Ok(Some(_))), "the first stream goes on");
    assert_eq!(owner.becomes(&owned, own::OwnershipKind::Owned).await, held.id);
    drop(again);
    assert_eq!(owner.becomes(&owned, own::OwnershipKind::Orphaned).await, held.id);
    let back = colleague.resume(&held.token).await.unwrap();
    assert_eq!(owner.becomes(&owned, own::OwnershipKind::Owned).await, held.id);

    // Once it is let go a token proves nothing any more.
    back.wishes.send(own::HoldRequest { request: Some(Wish::Release(own::Release {})) }).await.unwrap();
    owner.becomes(&owned, own::OwnershipKind::Orphaned).await;
    let used = [
        colleague.resume(&held.token).await.map(drop).unwrap_err(),
        colleague.create(Some(&held.token), wanted(&[])).await.unwrap_err(),
        colleague.adopt(&free, Some(&held.token), None).await.unwrap_err(),
    ];
    for refused in used {
        assert_eq!(reason(&refused), "EBBTIDE_LEASE_INVALID", "{refused:?}");
    }
    assert_eq!(owner.all().await.len(), before.len());
    // Who ends it with a purge is on record as who holds a lease.
    let (plan, purged) = (owner.own.plan_purge(all(false)).await.unwrap().into_inner(), all(false));
    let confirm = own::ConfirmPurgeRequest { plan: Some(purged), hash: plan.hash };
    owner.own.confirm_purge(with_lease(confirm, Some(&second.token))).await.unwrap();
    let ended = own::DescribeRequest { sandbox_id: owned };
    let ended = owner.own.describe(ended).await.unwrap().into_inner().end.unwrap();
    assert_eq!((ended.reason.as_str(), ended.by.as_str()), ("purged", "org:ours, a test"));
    drop((owner, colleague, stranger, second, strange, back));
    let _ = home.ebb(["doctor"]).run().exited(0);
    serve.signal(Signal::TERM);
    let _ = serve.wait().exited(0);
}
