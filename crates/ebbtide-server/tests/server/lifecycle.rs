//! The life of a sandbox, and of the daemon, by RPC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::ebbtide_service_client::EbbtideServiceClient;
use ebbtide_server::ServeEnd;
use tonic::{Code, Request};

use crate::daemon::{Daemon, SOON, field, reason, socket_mode, state};
use crate::exec::run;

#[tokio::test]
async fn what_was_asked_for_comes_back_with_every_message() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let created = client
        .create(|spec, container| {
            spec.tags = vec!["a".into(), "b".into()];
            spec.annotations.insert("k".into(), "v".into());
            spec.max_lifetime_seconds = 77;
            container.command = "sleep".into();
            container.args = vec!["1000".into()];
            container.environment_variables.insert("A".into(), "1".into());
            container.working_dir = "/tmp".into();
            container.resources =
                Some(wire::Resources { cpu: "500m".into(), memory: "256Mi".into(), gpu: None });
        })
        .await
        .unwrap();
    let got = client.get(&created.sandbox_id).await.unwrap();
    assert_eq!(got.spec, created.spec);
    let spec = got.spec.unwrap();
    assert_eq!((spec.tags.len(), spec.max_lifetime_seconds), (2, 77));
    assert_eq!(spec.annotations["k"], "v");
    let container = &spec.containers[0];
    assert_eq!((container.name.as_str(), container.image.as_str()), ("main", "host"));
    assert_eq!((container.command.as_str(), container.args[0].as_str()), ("sleep", "1000"));
    let status = got.status.unwrap();
    assert_eq!(status.effective_max_lifetime_seconds, 77);
    assert_eq!(status.effective_resources.unwrap().memory, "256Mi");
    assert_eq!(status.runner_id, "local");
    assert!(status.create_time.is_some());
}

#[tokio::test]
async fn a_repeated_create_answers_with_the_same_sandbox() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let first = client.create_as("once", |_, _| {}).await.unwrap();
    let again = client.create_as("once", |_, _| {}).await.unwrap();
    assert_eq!(first.sandbox_id, again.sandbox_id);
    let conflict = client.create_as("once", |spec, _| spec.tags.push("t".into())).await.unwrap_err();
    assert_eq!(conflict.code(), Code::AlreadyExists);
    assert_eq!(reason(&conflict), "CWSANDBOX_REQUEST_ID_CONFLICT");
}

#[tokio::test]
async fn a_main_command_that_ends_completes_the_sandbox_with_its_code() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let created = client
        .create(|_, container| {
            container.command = "sh".into();
            container.args = vec!["-c".into(), "exit 7".into()];
        })
        .await
        .unwrap();
    let ended = client.wait(&created.sandbox_id).await.unwrap();
    let status = ended.status.unwrap();
    assert_eq!((status.state(), status.exit_code), (wire::State::Completed, Some(7)));
    assert_eq!(status.state_reason, "main_exited");
    assert!(status.end_time.is_some());
}

#[tokio::test]
async fn a_delete_answers_at_once_and_the_record_stays() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut request = wire::DeleteSandboxRequest { sandbox_id: id.clone(), ..Default::default() };
    request.grace_period_seconds = 5;
    let begun = Instant::now();
    let deleted = client.sandboxes.delete_sandbox(request).await.unwrap().into_inner().sandbox.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "a delete does not wait for the grace period");
    assert!([wire::State::Terminating, wire::State::Completed].contains(&state(&deleted)));
    assert_eq!(state(&client.wait(&id).await.unwrap()), wire::State::Completed);
    assert_eq!(state(&client.get(&id).await.unwrap()), wire::State::Completed);
    let again = client.delete(&id).await.unwrap();
    assert_eq!(state(&again.sandbox.unwrap()), wire::State::Completed);
}

#[tokio::test]
async fn a_missing_sandbox_is_an_error_unless_it_may_be_missing() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let refused = client.delete("nobody").await.unwrap_err();
    assert_eq!(reason(&refused), "CWSANDBOX_SANDBOX_NOT_FOUND");
    let request =
        wire::DeleteSandboxRequest { sandbox_id: "nobody".into(), allow_missing: true, ..Default::default() };
    let answer = client.sandboxes.delete_sandbox(request).await.unwrap().into_inner();
    assert_eq!(answer, wire::DeleteSandboxResponse::default());
}

#[tokio::test]
async fn a_purge_ends_what_it_names_and_a_dry_one_nothing() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let tagged = client.create(|spec, _| spec.tags.push("t".into())).await.unwrap().sandbox_id;
    let other = client.sandbox().await;
    for id in [&tagged, &other] {
        run(&mut client, id, &["true"]).await;
    }
    let request = wire::PurgeSandboxesRequest { tags: vec!["t".into()], dry_run: true, ..Default::default() };
    let dry = client.sandboxes.purge_sandboxes(request.clone()).await.unwrap().into_inner();
    assert_eq!(dry.purge_count, 1);
    assert_eq!(state(&client.get(&tagged).await.unwrap()), wire::State::Running);
    let request = wire::PurgeSandboxesRequest { dry_run: false, ..request };
    let done = client.sandboxes.purge_sandboxes(request).await.unwrap().into_inner();
    assert_eq!((done.purge_count, done.failed_sandbox_ids.len()), (1, 0));
    assert_eq!(state(&client.wait(&tagged).await.unwrap()), wire::State::Completed);
    assert_eq!(state(&client.get(&other).await.unwrap()), wire::State::Running);
    let nothing = client.sandboxes.purge_sandboxes(wire::PurgeSandboxesRequest::default()).await.unwrap_err();
    assert_eq!(reason(&nothing), "CWSANDBOX_INVALID_REQUEST");
}

#[tokio::test]
async fn wait_is_woken_when_the_sandbox_ends() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut waiter = client.clone();
    let waited = id.clone();
    let waiting = tokio::spawn(async move { (waiter.wait(&waited).await, Instant::now()) });
    run(&mut client, &id, &["true"]).await;
    assert!(!waiting.is_finished());
    client.delete(&id).await.unwrap();
    let (ended, at) = waiting.await.unwrap();
    assert_eq!(state(&ended.unwrap()), wire::State::Completed);
    assert!(at.elapsed() < SOON);
}

#[tokio::test]
async fn a_wait_ends_with_the_callers_deadline() {
    let daemon = Daemon::start().await;
    let sandbox_id = daemon.client().await.sandbox().await;
    let mut request = Request::new(own::WaitRequest { sandbox_id });
    request.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let origin = "http://ebbtide.invalid".parse().unwrap();
    let mut client = EbbtideServiceClient::with_origin(daemon.patient_channel().await, origin);
    let late = client.wait(request).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn info_says_who_answers() {
    let daemon = Daemon::start().await;
    let info = daemon.client().await.info().await.unwrap();
    assert_eq!((info.version.as_str(), info.home_id.as_str()), ("1.2.3", "abcdefgh"));
    assert_eq!(info.state_dir, daemon.config.state_dir.to_str().unwrap());
    assert_eq!((info.pid, info.protocol_version), (std::process::id(), 1));
}

#[tokio::test]
async fn a_shutdown_ends_every_sandbox_before_it_answers() {
    use ebbtide_driver::Driver as _;
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    run(&mut client, &id, &["true"]).await;
    let mut waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait(&id).await });
    client.own.shutdown(own::ShutdownRequest {}).await.unwrap();
    let left = ebbtide_driver::fake::FakeDriver::on(Arc::clone(&daemon.world)).list().await.unwrap();
    assert!(left.is_empty());
    assert_eq!(state(&waiting.await.unwrap().unwrap()), wire::State::Completed);
    let socket = daemon.config.socket.clone();
    assert_eq!(daemon.ended().await, ServeEnd::Shutdown);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_server_that_is_told_to_end_leaves_the_sandboxes_and_lets_nobody_wait() {
    use ebbtide_driver::Driver as _;
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    run(&mut client, &id, &["true"]).await;
    let mut waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait(&id).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    let world = Arc::clone(&daemon.world);
    let Daemon { task, tell, control: _control, .. } = daemon;
    tell.send(()).unwrap();
    assert_eq!(task.await.unwrap(), ServeEnd::Told);
    assert!(begun.elapsed() < Duration::from_secs(2));
    let cut_off = waiting.await.unwrap().unwrap_err();
    assert_eq!(cut_off.code(), Code::Unavailable);
    assert_eq!(reason(&cut_off), "CWSANDBOX_BACKEND_UNAVAILABLE");
    let left = ebbtide_driver::fake::FakeDriver::on(world).list().await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_by_one_that_only_its_owner_can_use() {
    let daemon = Daemon::start_with(|config| std::fs::write(&config.socket, "stale").unwrap()).await;
    assert_eq!(socket_mode(&daemon.config.socket), 0o600);
    daemon.client().await.info().await.unwrap();
}

#[tokio::test]
async fn an_owner_has_to_be_a_process_of_the_callers_own() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    let mut own = async |pid: u32, start: &str| {
        let annotations =
            [("ebbtide.dev/owner-pid", pid.to_string().as_str()), ("ebbtide.dev/owner-start-time", start)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
        client.create(|spec, _| spec.annotations.extend(annotations)).await
    };
    own(std::process::id(), start).await.unwrap();
    let nobody = own(i32::MAX as u32, start).await.unwrap_err();
    assert_eq!(field(&nobody), "spec.annotations[ebbtide.dev/owner-pid]");
    let another = own(std::process::id(), "1").await.unwrap_err();
    assert_eq!(another.code(), Code::InvalidArgument);
    assert_eq!(field(&another), "spec.annotations[ebbtide.dev/owner-start-time]");
}

#[tokio::test]
async fn each_answer_carries_the_id_of_its_request() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut request = tonic::Request::new(own::InfoRequest {});
    request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
    let answer = client.own.info(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine-1");
    let mut request = tonic::Request::new(own::WaitRequest { sandbox_id: "nobody".to_owned() });
    request.metadata_mut().insert("x-request-id", "not sane;\t".parse().unwrap());
    let refused = client.own.wait(request).await.unwrap_err();
    let id = refused.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(id.len(), 26, "{id}");
}
