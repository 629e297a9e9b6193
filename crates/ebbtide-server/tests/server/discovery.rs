//! Discovery: the daemon as a runner.

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tonic::Code;
use wire::{RunnerView, Visibility};

use crate::daemon::{Client, Daemon, field, reason};

async fn list(client: &mut Client, request: wire::ListAvailableRunnersRequest) -> Vec<wire::AvailableRunner> {
    client.discovery.list_available_runners(request).await.unwrap().into_inner().runners
}

#[tokio::test]
async fn the_daemon_is_one_runner_and_the_full_view_tells_what_is_free() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    client.sandbox().await;
    let full = wire::ListAvailableRunnersRequest { view: RunnerView::Full.into(), ..Default::default() };
    let runners = list(&mut client, full).await;
    let [runner] = &runners[..] else { panic!("{runners:?}") };
    assert_eq!((runner.runner_id.as_str(), runner.healthy), ("local", true));
    let can = runner.capabilities.as_ref().unwrap();
    assert_eq!((can.max_cpu_millicores, can.max_memory_bytes), (4000, 8 << 30));
    assert_eq!(can.supported_architectures, ["amd64"]);
    let free = runner.resources.as_ref().unwrap();
    assert_eq!((free.available_cpu_millicores, free.available_memory_bytes), (3000, 5 << 30));
    assert_eq!(free.running_sandboxes, 1);
    for view in [RunnerView::Basic, RunnerView::Unspecified] {
        let request = wire::ListAvailableRunnersRequest { view: view.into(), ..Default::default() };
        assert_eq!(list(&mut client, request).await[0].resources, None);
    }
}

#[tokio::test]
async fn filters_leave_out_what_does_not_match() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let none = wire::ListAvailableRunnersRequest::default();
    for (request, count) in [
        (wire::ListAvailableRunnersRequest { architecture: "amd64".into(), ..none.clone() }, 1),
        (wire::ListAvailableRunnersRequest { architecture: "x86_64".into(), ..none.clone() }, 1),
        (wire::ListAvailableRunnersRequest { architecture: "arm64".into(), ..none.clone() }, 0),
        (wire::ListAvailableRunnersRequest { healthy_only: true, page_size: 100, ..none.clone() }, 1),
        (wire::ListAvailableRunnersRequest { gpu_type: "H100".into(), ..none.clone() }, 0),
        (wire::ListAvailableRunnersRequest { runner_group_id: "g".into(), ..none.clone() }, 0),
        (
            wire::ListAvailableRunnersRequest {
                service_visibility: Visibility::Public.into(),
                ..none.clone()
            },
            0,
        ),
    ] {
        assert_eq!(list(&mut client, request.clone()).await.len(), count, "{request:?}");
    }
    for (request, name) in [
        (wire::ListAvailableRunnersRequest { view: 9, ..none.clone() }, "view"),
        (wire::ListAvailableRunnersRequest { page_size: -1, ..none.clone() }, "page_size"),
        (wire::ListAvailableRunnersRequest { page_token: "x".into(), ..none.clone() }, "page_token"),
        (wire::ListAvailableRunnersRequest { service_visibility: 9, ..none }, "service_visibility"),
    ] {
        assert_eq!(field(&client.discovery.list_available_runners(request).await.unwrap_err()), name);
    }
}

#[tokio::test]
async fn a_runner_is_found_by_its_id_and_no_other() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let get = |id: &str| wire::GetAvailableRunnerRequest {
        runner_id: id.to_owned(),
        view: RunnerView::Full.into(),
        organization_id: "mine".to_owned(),
    };
    let found = client.discovery.get_available_runner(get("local")).await.unwrap().into_inner();
    assert!(found.resources.is_some());
    let status = client.discovery.get_available_runner(get("far")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "CWSANDBOX_RUNNER_NOT_FOUND"));
}
