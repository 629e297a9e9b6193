//! Pauses, ends that say who asked for them, what is kept, and purges by plan.

use ebbtide_model::{KEEP_ANNOTATION, STOP_FOR_HEADER};
use ebbtide_proto::FILES_UNTIL_ANNOTATION;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::OwnershipKind;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::daemon::{Client, Daemon, field, reason};
use crate::network::{Site, own as own_client};

fn delete(id: &str, stop_for: &str) -> Request<wire::DeleteSandboxRequest> {
    let mut request =
        Request::new(wire::DeleteSandboxRequest { sandbox_id: id.to_owned(), ..Default::default() });
    if !stop_for.is_empty() {
        request.metadata_mut().insert(STOP_FOR_HEADER, MetadataValue::try_from(stop_for).unwrap());
    }
    request
}

async fn describe(client: &mut Client, id: &str) -> own::Description {
    let request = own::DescribeRequest { sandbox_id: id.to_owned() };
    client.own.describe(request).await.unwrap().into_inner()
}

async fn ended(client: &mut Client, id: &str) -> own::End {
    client.own.wait(own::WaitRequest { sandbox_id: id.to_owned() }).await.unwrap();
    describe(client, id).await.end.unwrap()
}

/// Runs a command; waits for a sandbox that is being made.
async fn exec(client: &mut Client, id: &str) -> Result<(), Status> {
    let command = vec!["true".to_owned()];
    let request = wire::ExecRequest { sandbox_id: id.to_owned(), command, ..Default::default() };
    client.sandboxes.exec(request).await.map(drop)
}

fn state(description: &own::Description) -> wire::State {
    description.sandbox.as_ref().unwrap().status.as_ref().unwrap().state()
}

#[tokio::test]
async fn a_paused_sandbox_is_shown_as_such_and_refuses_work_by_name() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    for _ in 0..2 {
        let paused = client.own.pause(own::PauseRequest { sandbox_id: id.clone() }).await.unwrap();
        assert_eq!(state(&paused.into_inner()), wire::State::Paused);
    }
    let refused = exec(&mut client, &id).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "EBBTIDE_SANDBOX_PAUSED")
    );
    let resumed = client.own.resume(own::ResumeRequest { sandbox_id: id.clone() }).await.unwrap();
    assert_eq!(state(&resumed.into_inner()), wire::State::Running);
    exec(&mut client, &id).await.unwrap();
    let unknown = client.own.pause(own::PauseRequest { sandbox_id: "none".to_owned() }).await.unwrap_err();
    assert_eq!(reason(&unknown), "CWSANDBOX_SANDBOX_NOT_FOUND");
}

#[tokio::test]
async fn an_end_says_who_asked_for_it_and_what_it_released() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    exec(&mut client, &id).await.unwrap();
    assert_eq!(describe(&mut client, &id).await.deadlines[0].kind, "lifetime");
    client.sandboxes.delete_sandbox(delete(&id, "")).await.unwrap();
    let end = ended(&mut client, &id).await;
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(end.reason, "stopped");
    assert!(end.by.starts_with(&format!("uid:{uid}, process {}", std::process::id())), "{end:?}");
    assert!(!end.receipt.unwrap().released.is_empty());
    assert!(describe(&mut client, &id).await.deadlines.is_empty());
}

#[tokio::test]
async fn a_session_that_closes_is_told_of_what_is_kept() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let keeps = |spec: &mut wire::SandboxSpec, _: &mut wire::Container| {
        spec.annotations.insert(KEEP_ANNOTATION.to_owned(), "always".to_owned());
    };
    let kept = client.create(keeps).await.unwrap().sandbox_id;
    let ends = client.sandbox().await;
    for id in [&kept, &ends] {
        exec(&mut client, id).await.unwrap();
    }
    let answer = client.sandboxes.delete_sandbox(delete(&kept, "session")).await.unwrap().into_inner();
    assert_eq!(answer.sandbox.unwrap().status.unwrap().state(), wire::State::Paused);
    let described = describe(&mut client, &kept).await;
    let ownership = described.ownership.unwrap();
    assert_eq!(ownership.kind(), OwnershipKind::Kept);
    assert_eq!(ownership.reason, "its session was closed (keep = always)");
    client.sandboxes.delete_sandbox(delete(&ends, "session")).await.unwrap();
    assert_eq!(ended(&mut client, &ends).await.reason, "session_closed");

    let refused = client.sandboxes.delete_sandbox(delete(&kept, "fun")).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, STOP_FOR_HEADER));
    client.sandboxes.delete_sandbox(delete(&kept, "")).await.unwrap();
    assert_eq!(ended(&mut client, &kept).await.reason, "stopped");
}

#[tokio::test]
async fn a_purge_ends_exactly_what_its_plan_has_shown() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let first = client.sandbox().await;
    let plan = own::PlanPurgeRequest { all: true, ..Default::default() };
    let shown = client.own.plan_purge(plan.clone()).await.unwrap().into_inner();
    assert_eq!(shown.sandboxes.len(), 1);
    let second = client.sandbox().await;
    let confirm = |hash: &str| own::ConfirmPurgeRequest { plan: Some(plan.clone()), hash: hash.to_owned() };
    let stale = client.own.confirm_purge(confirm(&shown.hash)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::FailedPrecondition, "EBBTIDE_PLAN_STALE"));
    let shown = client.own.plan_purge(plan.clone()).await.unwrap().into_inner();
    let done = client.own.confirm_purge(confirm(&shown.hash)).await.unwrap().into_inner();
    let outcomes: Vec<_> =
        done.items.iter().map(|item| (item.sandbox_id.as_str(), item.outcome.as_str())).collect();
    assert_eq!(outcomes, [(first.as_str(), "destroyed"), (second.as_str(), "destroyed")]);
    assert_eq!(ended(&mut client, &first).await.reason, "purged");
    let nothing = client.own.plan_purge(own::PlanPurgeRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_sandboxes_of_others_are_only_roots_to_end_and_only_here() {
    let site = Site::start().await;
    let everybodys = own::PlanPurgeRequest { all: true, all_owners: true, ..Default::default() };
    let here = site.daemon.client().await.own.plan_purge(everybodys.clone()).await;
    assert_eq!(here.is_ok(), rustix::process::getuid().is_root());
    let mut remote = own_client(&site.channel().await, &site.key("one"));
    let refused = remote.plan_purge(everybodys).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "CWSANDBOX_PERMISSION_DENIED")
    );
}

#[tokio::test]
async fn a_failed_main_command_is_an_end_to_every_client_and_its_files_can_be_read_nevertheless() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let container = wire::Container {
        image: "host".to_owned(),
        command: "sh".to_owned(),
        args: vec!["-c".to_owned(), "echo half > /tmp/result; exit 3".to_owned()],
        ..Default::default()
    };
    let spec = wire::SandboxSpec {
        containers: vec![container],
        annotations: [(KEEP_ANNOTATION.to_owned(), "on_failure".to_owned())].into(),
        ..Default::default()
    };
    let sandbox = wire::Sandbox { spec: Some(spec), ..Default::default() };
    let request = wire::CreateSandboxRequest { sandbox: Some(sandbox), ..Default::default() };
    let id = client.sandboxes.create_sandbox(request).await.unwrap().into_inner().sandbox_id;
    let wait = own::WaitRequest { sandbox_id: id.clone() };
    let shown = client.own.wait(wait.clone()).await.unwrap().into_inner();
    let annotations = shown.spec.unwrap().annotations;
    assert!(annotations.contains_key(FILES_UNTIL_ANNOTATION), "{annotations:?}");
    let completed = |sandbox: wire::Sandbox| {
        let status = sandbox.status.unwrap();
        assert_eq!((status.state(), status.exit_code), (wire::State::Completed, Some(3)));
        assert!(status.state_reason.starts_with("main_exited: "), "{status:?}");
        status.end_time
    };
    let get = wire::GetSandboxRequest { sandbox_id: id.clone() };
    let at = completed(client.sandboxes.get_sandbox(get.clone()).await.unwrap().into_inner());
    let list = async |client: &mut Client, show_terminated| {
        let request = wire::ListSandboxesRequest { show_terminated, ..Default::default() };
        client.sandboxes.list_sandboxes(request).await.unwrap().into_inner().sandboxes.len()
    };
    assert_eq!((list(&mut client, false).await, list(&mut client, true).await), (0, 1));
    let described = describe(&mut client, &id).await;
    assert_eq!(described.ownership.as_ref().unwrap().kind(), OwnershipKind::Kept);
    let main_end = described.main_end.unwrap();
    assert_eq!((main_end.reason.as_str(), main_end.exit_code, described.end), ("main_exited", 3, None));
    exec(&mut client, &id).await.unwrap();
    let read = wire::ReadFileRequest {
        sandbox_id: id.clone(),
        path: "/tmp/result".to_owned(),
        ..Default::default()
    };
    let content = client.sandboxes.read_file(read).await.unwrap().into_inner().content;
    assert_eq!(&content[..], b"half\n");
    let answer = client.sandboxes.delete_sandbox(delete(&id, "")).await.unwrap().into_inner();
    assert_eq!(completed(answer.sandbox.unwrap()), at);
    client.own.wait(wait).await.unwrap();
    assert_eq!(completed(client.sandboxes.get_sandbox(get).await.unwrap().into_inner()), at);
    let end = describe(&mut client, &id).await.end.unwrap();
    assert!(end.receipt.unwrap().left.is_empty() && end.ended_at.is_some());
}
