//! Whose a sandbox becomes.

use std::process::Command;

use ebbtide_proto::ebbtide::v1::adopt_request::Owner as Adopter;
use tonic_types::StatusExt as _;

use super::*;

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
