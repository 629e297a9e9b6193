//! An owner of which only the stream is known.

use super::*;

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
