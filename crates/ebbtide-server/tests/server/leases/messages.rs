//! What is said about leases, and what is made of it.

use super::*;

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
