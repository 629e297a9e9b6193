//! ListSandboxes: which, in which order, in which pages.

use ebbtide_proto::coreweave::sandbox::v1 as wire;

use crate::daemon::{Client, Daemon, field, reason};

async fn list(client: &mut Client, request: wire::ListSandboxesRequest) -> (Vec<String>, String) {
    let answer = client.sandboxes.list_sandboxes(request).await.unwrap().into_inner();
    (answer.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect(), answer.next_page_token)
}

fn all() -> wire::ListSandboxesRequest {
    wire::ListSandboxesRequest { show_terminated: true, ..Default::default() }
}

#[tokio::test]
async fn all_of_the_tags_have_to_match() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    client.create(|spec, _| spec.tags = vec!["a".into()]).await.unwrap();
    let both = client.create(|spec, _| spec.tags = vec!["a".into(), "b".into()]).await.unwrap().sandbox_id;
    let tagged = wire::ListSandboxesRequest { tags: vec!["a".into(), "b".into()], ..Default::default() };
    assert_eq!(list(&mut client, tagged).await.0, [both]);
}

#[tokio::test]
async fn ended_ones_are_shown_only_to_those_who_ask() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let (alive, ended) = (client.sandbox().await, client.sandbox().await);
    client.delete(&ended).await.unwrap();
    client.wait(&ended).await.unwrap();
    assert_eq!(
        list(&mut client, wire::ListSandboxesRequest::default()).await.0,
        std::slice::from_ref(&alive)
    );
    assert_eq!(list(&mut client, all()).await.0.len(), 2);
    let mut completed = wire::ListSandboxesRequest::default();
    completed.set_state(wire::State::Completed);
    assert_eq!(list(&mut client, completed).await.0, [ended]);
    let mut never_shown = all();
    never_shown.set_state(wire::State::Terminated);
    assert!(list(&mut client, never_shown).await.0.is_empty());
    let elsewhere = wire::ListSandboxesRequest { runner_ids: vec!["far".into()], ..all() };
    assert!(list(&mut client, elsewhere).await.0.is_empty());
    let here = wire::ListSandboxesRequest { runner_ids: vec!["local".into()], ..Default::default() };
    assert_eq!(list(&mut client, here).await.0, [alive]);
}

#[tokio::test]
async fn pages_in_both_directions_hold_each_sandbox_once() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(client.sandbox().await);
    }
    ids.sort();
    for direction in [wire::SortDirection::Ascending, wire::SortDirection::Descending] {
        let mut request = wire::ListSandboxesRequest { page_size: 2, ..all() };
        request.set_sort_direction(direction);
        let mut found = Vec::new();
        let mut sizes = Vec::new();
        loop {
            let (page, next) = list(&mut client, request.clone()).await;
            sizes.push(page.len());
            found.extend(page);
            if next.is_empty() {
                break;
            }
            assert_ne!(next, request.page_token);
            request.page_token = next;
        }
        assert_eq!(sizes, [2, 2, 1]);
        if direction == wire::SortDirection::Descending {
            found.reverse();
        }
        assert_eq!(found, ids);
    }
}

#[tokio::test]
async fn an_absurd_listing_is_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    for (request, name) in [
        (wire::ListSandboxesRequest { page_token: "../x".into(), ..all() }, "page_token"),
        (wire::ListSandboxesRequest { page_size: -1, ..all() }, "page_size"),
        (wire::ListSandboxesRequest { state: 99, ..all() }, "state"),
        (wire::ListSandboxesRequest { sort_direction: 99, ..all() }, "sort_direction"),
    ] {
        let refused = client.sandboxes.list_sandboxes(request).await.unwrap_err();
        assert_eq!(reason(&refused), "CWSANDBOX_INVALID_REQUEST");
        assert_eq!(field(&refused), name);
    }
    list(&mut client, wire::ListSandboxesRequest { page_size: i32::MAX, ..all() }).await;
}
