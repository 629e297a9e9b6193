//! The event stream as clients read it.

use ebbtide_proto::ebbtide::v1 as own;
use own::EventKind;
use tokio::time::timeout;
use tonic::{Code, Request, Streaming};

use crate::daemon::{Client, Daemon, SOON, field, reason};

async fn events(client: &mut Client, request: own::EventsRequest) -> Streaming<own::Event> {
    client.own.events(request).await.unwrap().into_inner()
}

async fn next(events: &mut Streaming<own::Event>) -> Option<own::Event> {
    timeout(SOON, events.message()).await.expect("an event comes").unwrap()
}

async fn all(client: &mut Client, request: own::EventsRequest) -> Vec<own::Event> {
    let mut events = events(client, request).await;
    let mut all = Vec::new();
    while let Some(event) = next(&mut events).await {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn a_follower_sees_a_life_as_it_happens_and_is_told_when_the_daemon_ends() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut events = events(&mut client, own::EventsRequest { follow: true, ..Default::default() }).await;
    let id = client.create(|spec, _| spec.tags.push("t".to_owned())).await.unwrap().sandbox_id;
    let created = next(&mut events).await.unwrap();
    assert_eq!((created.kind(), &created.sandbox_id), (EventKind::Created, &id));
    assert_eq!((created.principal.starts_with("uid:"), &created.tags[..]), (true, &["t".to_owned()][..]));
    assert_eq!(next(&mut events).await.unwrap().kind(), EventKind::Running);
    client.delete(&id).await.unwrap();
    let stopping = next(&mut events).await.unwrap();
    assert_eq!((stopping.kind(), stopping.reason.as_str()), (EventKind::Stopping, "stopped"));
    let stopped = next(&mut events).await.unwrap();
    assert_eq!((stopped.kind(), stopped.exit_code), (EventKind::Stopped, Some(0)));
    assert_eq!(stopped.sequence, created.sequence + 3);
    drop(daemon.tell);
    let status = timeout(SOON, events.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "CWSANDBOX_BACKEND_UNAVAILABLE");
}

#[tokio::test]
async fn what_is_kept_can_be_read_later_from_any_number_on() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let (first, second) = (client.sandbox().await, client.sandbox().await);
    for id in [&first, &second] {
        client.delete(id).await.unwrap();
        client.wait(id).await.unwrap();
    }
    let everything = all(&mut client, own::EventsRequest::default()).await;
    assert!(everything.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1), "{everything:?}");
    let since_sequence = everything[2].sequence;
    let rest = all(&mut client, own::EventsRequest { since_sequence, ..Default::default() }).await;
    assert_eq!(rest, everything[3..]);
    let of_second = own::EventsRequest { sandbox_id: second.clone(), ..Default::default() };
    let of_second = all(&mut client, of_second).await;
    assert_eq!(of_second.len(), 4);
    assert!(of_second.iter().all(|event| event.sandbox_id == second));
    let tags = vec!["nobody-has-this".to_owned()];
    assert!(all(&mut client, own::EventsRequest { tags, ..Default::default() }).await.is_empty());
}

#[tokio::test]
async fn numbers_of_an_earlier_daemon_are_answered_with_what_is_kept_and_a_word_about_it() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    client.sandbox().await;
    let events = all(&mut client, own::EventsRequest { since_sequence: 1, ..Default::default() }).await;
    assert_eq!((events[0].kind(), events[0].missed, events[0].sequence), (EventKind::Missed, None, 0));
    assert_eq!(events[1].kind(), EventKind::Created);
}

#[tokio::test]
async fn a_malformed_id_is_refused_by_name() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let request = own::EventsRequest { sandbox_id: "../etc".to_owned(), ..Default::default() };
    let status = client.own.events(request).await.unwrap_err();
    assert_eq!(field(&status), "sandbox_id");
}

#[tokio::test]
async fn a_follower_with_a_deadline_is_held_to_it() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut call = Request::new(own::EventsRequest { follow: true, ..Default::default() });
    call.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut events = client.own.events(call).await.unwrap().into_inner();
    let late = timeout(SOON, events.message()).await.expect("the call ends").unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
}
