//! A purge by plan: exactly what was seen, or nothing.

use std::time::Duration;

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{ErrorReason, State, StopOptions, TerminationReason};

use super::*;
use crate::{Asked, PurgeFilter, Purged, PurgedItem, Whose};

fn tagged(tags: &[&str]) -> SandboxSpec {
    SandboxSpec { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..main(&["sleep", "60"]) }
}

fn filter(tags: &[&str]) -> PurgeFilter {
    PurgeFilter { tags: tagged(tags).tags, all: tags.is_empty() }
}

fn outcomes(items: Vec<PurgedItem>) -> Vec<(String, Purged)> {
    items.into_iter().map(|item| (item.id.to_string(), item.outcome)).collect()
}

#[tokio::test]
async fn a_plan_is_confirmed_by_its_hash_and_ends_exactly_what_it_named() {
    let home = Home::new();
    let control = home.open().await;
    let (mine, asked) = (Whose::Own(ME), Asked { by: Some("ebb".to_owned()), ..Asked::default() });
    let (a, b) = (running(&control, tagged(&["x"])).await, running(&control, tagged(&["x"])).await);
    let other = running(&control, tagged(&["y"])).await;
    let foreign = control.create(&SOMEBODY_ELSE, tagged(&["x"]), "").await.unwrap().id;
    let plan = control.plan_purge(&mine, &filter(&["x"])).unwrap();
    let named: Vec<String> = plan.sandboxes.iter().map(|one| one.record.id.to_string()).collect();
    assert_eq!(named, [a.clone(), b.clone()]);
    assert_eq!(plan.hash.len(), 64);
    assert_eq!(control.plan_purge(&mine, &filter(&["x"])).unwrap(), plan);

    let done = control.confirm_purge(&mine, &filter(&["x"]), &plan.hash, &asked).await.unwrap();
    assert_eq!(outcomes(done), [(a.clone(), Purged::Destroyed), (b, Purged::Destroyed)]);
    let ended = control.get(&ME, &a).await.unwrap();
    assert_eq!(ended.reason, Some(TerminationReason::Purged));
    assert_eq!(ended.ended_by.as_deref(), Some("uid:1000, ebb"));
    assert_eq!(control.get(&ME, &other).await.unwrap().state, State::Running);
    assert!(!control.get(&SOMEBODY_ELSE, foreign.as_str()).await.unwrap().state.is_terminal());
}

#[tokio::test]
async fn a_plan_is_stale_as_soon_as_the_set_is_another_and_then_has_no_effect() {
    let home = Home::new();
    let control = home.open().await;
    let (mine, asked) = (Whose::Own(ME), Asked::default());
    let first = running(&control, tagged(&["x"])).await;
    let before = control.plan_purge(&mine, &filter(&["x"])).unwrap();
    let second = running(&control, tagged(&["x"])).await;
    let more = control.plan_purge(&mine, &filter(&["x"])).unwrap();
    for (hash, live) in [(&before.hash, 2), (&"0".repeat(64), 2), (&String::new(), 2)] {
        let error = control.confirm_purge(&mine, &filter(&["x"]), hash, &asked).await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::PlanStale);
        assert_eq!(*control.live().borrow(), live);
    }
    control.stop(&ME, &second, StopOptions::NOW).await.unwrap();
    let error = control.confirm_purge(&mine, &filter(&["x"]), &more.hash, &asked).await.unwrap_err();
    assert!(matches!(error, ControlError::PlanStale { count: 1 }), "{error}");
    // The set is again the one of the first plan.
    control.confirm_purge(&mine, &filter(&["x"]), &before.hash, &asked).await.unwrap();
    assert!(control.get(&ME, &first).await.unwrap().state.is_terminal());
    let error = control.plan_purge(&mine, &PurgeFilter::default()).unwrap_err();
    assert_eq!(error.reason(), ErrorReason::InvalidRequest);
}

#[tokio::test]
async fn everybodys_are_named_only_where_that_is_asked_for() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, tagged(&["x"])).await;
    control.create(&SOMEBODY_ELSE, tagged(&["x"]), "").await.unwrap();
    let of = |whose: Whose| control.plan_purge(&whose, &filter(&[])).unwrap();
    let (own, all) = (of(Whose::Own(ME)), of(Whose::Everybodys(ME)));
    assert_eq!((own.sandboxes.len(), all.sandboxes.len()), (1, 2));
    // The hash of everybody's is none for one's own.
    let stale = control.confirm_purge(&Whose::Own(ME), &filter(&[]), &all.hash, &Asked::default()).await;
    assert_eq!(stale.unwrap_err().reason(), ErrorReason::PlanStale);
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
    let done =
        control.confirm_purge(&Whose::Everybodys(ME), &filter(&[]), &all.hash, &Asked::default()).await;
    assert!(done.unwrap().iter().all(|item| item.outcome == Purged::Destroyed));
    assert_eq!(*control.live().borrow(), 0);
}

#[tokio::test]
async fn one_that_does_not_end_in_time_is_named_as_such() {
    let mut home = Home::new();
    home.config.timing.settle = Duration::from_millis(100);
    home.config.timing.retry_first = Duration::from_millis(400);
    let control = home.open().await;
    let id = running(&control, idle()).await;
    home.world.fail_next(Call::Destroy, DriverError::Unavailable("busy".to_owned()));
    let plan = control.plan_purge(&Whose::Own(ME), &filter(&[])).unwrap();
    let done = control.confirm_purge(&Whose::Own(ME), &filter(&[]), &plan.hash, &Asked::default()).await;
    let done = done.unwrap();
    assert_eq!(done[0].outcome, Purged::RetryLater);
    assert!(done[0].message.contains("busy"), "{done:?}");
    assert_eq!(wait(&control, &id).await.state, State::Completed);
}
