//! Listings: filters, order, pages.

use ebbtide_model::{SandboxId, State, StopOptions};

use super::*;
use crate::{ListFilter, PurgeFilter};

async fn all_pages(control: &Control, filter: ListFilter) -> Vec<Vec<SandboxId>> {
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = control.list(&ME, ListFilter { page_token, ..filter.clone() }).await.unwrap();
        pages.push(page.records.into_iter().map(|record| record.id).collect());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

fn ids(strings: &[String]) -> Vec<SandboxId> {
    let mut ids: Vec<SandboxId> = strings.iter().map(|id| id.parse().unwrap()).collect();
    ids.sort();
    ids
}

fn tagged(tags: &[&str]) -> SandboxSpec {
    SandboxSpec { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..idle() }
}

#[tokio::test]
async fn pages_hold_every_sandbox_once_live_or_ended_in_both_orders() {
    let home = Home::new();
    let control = home.open().await;
    let mut all = Vec::new();
    for number in 0..60 {
        let tags: &[&str] = if number % 2 == 0 { &["even", "it's"] } else { &["odd"] };
        all.push(create(&control, tagged(tags)).await);
    }
    control
        .purge(&ME, PurgeFilter { tags: vec!["even".into()], all: false }, false, &crate::Asked::default())
        .await
        .unwrap();
    control.create(&SOMEBODY_ELSE, idle(), "").await.unwrap();
    let expected = ids(&all);
    for descending in [false, true] {
        for page_size in [1, 7, 60, 61, 0] {
            let filter = ListFilter { show_terminated: true, page_size, descending, ..ListFilter::default() };
            let pages = all_pages(&control, filter).await;
            let size = if page_size == 0 { 1000 } else { page_size };
            assert_eq!(pages.len(), 60_usize.div_ceil(size));
            let mut listed = pages.concat();
            if descending {
                listed.reverse();
            }
            assert_eq!(listed, expected);
        }
    }
    let live = ids(&all.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>());
    assert_eq!(all_pages(&control, ListFilter::default()).await.concat(), live);
    let ended = ids(&all.iter().step_by(2).cloned().collect::<Vec<_>>());
    let by_state = ListFilter { state: Some(State::Completed), page_size: 7, ..ListFilter::default() };
    let failed = ListFilter { state: Some(State::Failed), page_size: 7, ..ListFilter::default() };
    let mut listed = all_pages(&control, by_state).await.concat();
    listed.extend(all_pages(&control, failed).await.concat());
    listed.sort();
    assert_eq!(listed, ended);
    let both = ListFilter {
        tags: vec!["it's".into(), "even".into()],
        show_terminated: true,
        page_size: 7,
        ..ListFilter::default()
    };
    assert_eq!(all_pages(&control, both.clone()).await.concat(), ended);
    assert_eq!(all_pages(&control, ListFilter { tags: vec!["e".into()], ..both }).await.concat(), []);
}

#[tokio::test]
async fn a_state_that_only_memory_knows_is_listed() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let filter = |state| ListFilter { state: Some(state), ..ListFilter::default() };
    let listed = control.list(&ME, filter(State::Running)).await.unwrap();
    assert_eq!(listed.records.len(), 1);
    assert_eq!(control.list(&ME, filter(State::Pending)).await.unwrap().records, []);
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!(control.list(&ME, filter(State::Completed)).await.unwrap().records, [ended]);
    assert_eq!(control.list(&ME, ListFilter::default()).await.unwrap().records, []);
}

#[tokio::test]
async fn a_page_ends_before_it_is_too_large_for_a_message() {
    let home = Home::new();
    let control = home.open().await;
    for _ in 0..5 {
        let mut spec = idle();
        spec.main.argv = vec!["sleep".to_owned(), "x".repeat(900_000)];
        create(&control, spec).await;
    }
    let filter = ListFilter { show_terminated: true, ..ListFilter::default() };
    let pages = all_pages(&control, filter).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
}

#[tokio::test]
async fn a_page_token_that_is_none_is_refused() {
    let home = Home::new();
    let control = home.open().await;
    let filter = ListFilter { page_token: "'; DROP TABLE sandbox; --".into(), ..ListFilter::default() };
    let error = control.list(&ME, filter).await.unwrap_err();
    assert_eq!(error.reason(), ebbtide_model::ErrorReason::InvalidRequest);
}

#[tokio::test]
async fn ten_thousand_ended_sandboxes_fit_into_a_hundred_pages_of_a_hundred() {
    let home = Home::new();
    let control = home.open().await;
    let engine = control.engine();
    let (mut record, _) = crate::lifecycle::intent(engine, &ME, tagged(&["many"]), "", None).unwrap();
    record.state = State::Completed;
    record.ended_at = Some(record.created_at);
    for _ in 0..10_000 {
        record.id = SandboxId::generate();
        engine.store.record_intent(&record).unwrap();
    }
    let state = Some(State::Completed);
    let tags = vec!["many".to_owned()];
    let pages =
        all_pages(&control, ListFilter { state, tags, page_size: 100, ..ListFilter::default() }).await;
    assert_eq!((pages.len(), pages.concat().len()), (100, 10_000));
}
