//! Requests that are refused: each with the reason that a program can act on.

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use tonic::Code;

use crate::daemon::{Daemon, field, reason};

#[tokio::test]
async fn any_malformed_id_is_simply_not_found() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let long = "x".repeat(1 << 20);
    for id in ["", "..", "a/b", "\0", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav", &long] {
        let answers = [
            client.get(id).await.unwrap_err(),
            client.delete(id).await.unwrap_err(),
            client.wait(id).await.unwrap_err(),
            crate::exec::start(&mut client, id, &["true"]).await.unwrap_err(),
        ];
        for answer in answers {
            assert_eq!(answer.code(), Code::NotFound);
            assert_eq!(reason(&answer), "CWSANDBOX_SANDBOX_NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let refused = [
        (client.create(|spec, _| spec.services.push(Default::default())).await, "spec.services"),
        (client.create(|spec, _| spec.containers.push(Default::default())).await, "spec.containers[1]"),
    ];
    for (answer, name) in refused {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(reason(&status), "CWSANDBOX_NOT_IMPLEMENTED");
        assert_eq!(field(&status), name);
    }
}

#[tokio::test]
async fn whatever_is_about_snapshots_says_so() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut sandboxes = client.sandboxes.clone();
    let scratch = wire::sandbox_volume::Source::Scratch(wire::ScratchVolume::default());
    let volume = wire::SandboxVolume { name: "workspace".into(), source: Some(scratch) };
    let delete = wire::DeleteSandboxRequest { snapshot_volumes: vec!["v".into()], ..Default::default() };
    let answers = [
        client.create(|spec, _| spec.volumes.push(volume)).await.unwrap_err(),
        sandboxes.delete_sandbox(delete).await.unwrap_err(),
        sandboxes
            .create_file_system_snapshot(wire::CreateFileSystemSnapshotRequest::default())
            .await
            .unwrap_err(),
        sandboxes.get_file_system_snapshot(wire::GetFileSystemSnapshotRequest::default()).await.unwrap_err(),
        sandboxes
            .list_file_system_snapshots(wire::ListFileSystemSnapshotsRequest::default())
            .await
            .unwrap_err(),
        sandboxes
            .delete_file_system_snapshot(wire::DeleteFileSystemSnapshotRequest::default())
            .await
            .unwrap_err(),
    ];
    for answer in answers {
        assert_eq!(answer.code(), Code::Unimplemented);
        assert_eq!(reason(&answer), "CWSANDBOX_FSS_NOT_SUPPORTED");
    }
}

#[tokio::test]
async fn values_out_of_range_are_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    for answer in [
        client.create(|spec, _| spec.max_lifetime_seconds = -5).await,
        client.create(|spec, _| spec.max_lifetime_seconds = i32::MAX).await,
        client.create(|_, c| c.resources.get_or_insert_default().memory = "lots".into()).await,
        client.create(|_, c| c.command = "a\0b".into()).await,
        client.create(|_, c| c.working_dir = "relative".into()).await,
        client.create(|_, c| c.files.push(Default::default())).await,
    ] {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(&status), "CWSANDBOX_INVALID_REQUEST");
        assert!(!field(&status).is_empty());
    }
    for grace in [-1, i32::MAX] {
        let request = wire::DeleteSandboxRequest { grace_period_seconds: grace, ..Default::default() };
        let status = client.sandboxes.delete_sandbox(request).await.unwrap_err();
        assert_eq!(field(&status), "grace_period_seconds");
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_made_names_the_field_that_the_caller_wrote() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let large = || wire::Resources { memory: "1Pi".into(), ..Default::default() };
    let sided = || wire::ResourceRequirements { requests: Some(large()), limits: None };
    let source = || wire::SecretSource { store_name: "s".into(), path: "p".into(), ..Default::default() };
    let nowhere = || wire::ImagePullCredentials { credentials: Some(source()), ..Default::default() };
    let (refused, above) = ("CWSANDBOX_INVALID_REQUEST", "CWSANDBOX_RESOURCE_CEILING_EXCEEDED");
    for (answer, expected, name) in [
        (client.create(|spec, _| spec.tags.push(String::new())).await, refused, "spec.tags"),
        (client.create(|_, c| c.args.push("\0".into())).await, refused, "spec.containers[0].args[0]"),
        (client.create(|_, c| c.image = "x".into()).await, refused, "spec.containers[0].image"),
        (
            client.create(|_, c| c.image_pull_credentials = Some(nowhere())).await,
            refused,
            "spec.containers[0].image_pull_credentials.registry",
        ),
        (
            client
                .create(|spec, _| drop(spec.annotations.insert("ebbtide.dev/main".into(), "x".into())))
                .await,
            refused,
            "spec.annotations[ebbtide.dev/main]",
        ),
        (
            client
                .create(|spec, _| drop(spec.annotations.insert("ebbtide.dev/owner-pid".into(), "1".into())))
                .await,
            refused,
            "spec.annotations[ebbtide.dev/owner-start-time]",
        ),
        (
            client.create(|_, c| c.resources = Some(large())).await,
            above,
            "spec.containers[0].resources.memory",
        ),
        (
            client.create(|_, c| c.resource_requirements = Some(sided())).await,
            above,
            "spec.containers[0].resource_requirements.requests.memory",
        ),
    ] {
        let status = answer.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, expected));
        assert_eq!(field(&status), name);
        assert!(status.message().starts_with(name), "{}", status.message());
    }
}

#[tokio::test]
async fn methods_that_do_not_exist_yet_say_so() {
    let daemon = Daemon::start().await;
    let client = daemon.client().await;
    let mut sandboxes = client.sandboxes.clone();
    let answers = [
        // The public client falls back to this connection on no other answer.
        sandboxes.connect_sandbox(wire::ConnectSandboxRequest::default()).await.unwrap_err(),
        sandboxes
            .create_sandbox_from_template(wire::CreateSandboxFromTemplateRequest::default())
            .await
            .unwrap_err(),
        sandboxes.create_sandbox_from_file(wire::CreateSandboxFromFileRequest::default()).await.unwrap_err(),
        sandboxes.get_sandbox_build_logs(wire::GetSandboxBuildLogsRequest::default()).await.unwrap_err(),
    ];
    for answer in answers {
        assert_eq!(answer.code(), Code::Unimplemented);
        assert_eq!(reason(&answer), "CWSANDBOX_NOT_IMPLEMENTED");
    }
}

#[tokio::test]
async fn a_service_that_does_not_exist_says_so() {
    use wire::sandbox_data_plane_service_client::SandboxDataPlaneServiceClient;
    let daemon = Daemon::start().await;
    let stream = tokio::net::UnixStream::connect(&daemon.config.socket).await.unwrap();
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("once"));
        async { stream }
    });
    let channel = tonic::transport::Endpoint::from_static("http://ebbtide.invalid")
        .connect_with_connector(connector)
        .await
        .unwrap();
    let mut data_plane = SandboxDataPlaneServiceClient::new(channel);
    let answer = data_plane.read_file(wire::ReadFileRequest::default()).await.unwrap_err();
    assert_eq!(answer.code(), Code::Unimplemented);
    assert_eq!(reason(&answer), "CWSANDBOX_NOT_IMPLEMENTED");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_lives_on() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    client.sandboxes = client.sandboxes.max_encoding_message_size(usize::MAX);
    let large = "x".repeat(ebbtide_proto::MAX_MESSAGE_BYTES);
    let status = client.create(|_, c| c.args.push(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "CWSANDBOX_INVALID_REQUEST");
    client.own.info(own::InfoRequest {}).await.unwrap();
}
