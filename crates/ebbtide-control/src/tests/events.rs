//! What listeners are told of the life of a sandbox.

use ebbtide_model::{StopOptions, TerminationReason};

use super::{Home, ME, SOMEBODY_ELSE, crash, create, idle, main, reach, running, wait};
use crate::{Control, EventFilter, EventItem, EventKind, Outcome, PurgeFilter};
use ebbtide_model::State;

/// What happened to one sandbox, in order.
fn told(control: &Control, id: &str) -> Vec<EventKind> {
    let filter = EventFilter { sandbox: Some(id.parse().unwrap()), ..EventFilter::default() };
    let mut events = control.events(&ME, filter);
    std::iter::from_fn(|| events.try_next())
        .map(|item| match item {
            EventItem::Event(event) => event.kind,
            EventItem::Missed(missed) => panic!("missed {missed:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_stop_is_told_step_by_step_with_its_reason_and_code() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.stop(&ME, &id, StopOptions { grace: std::time::Duration::ZERO }).await.unwrap();
    wait(&control, &id).await;
    let reason = TerminationReason::Stopped;
    let expected = [
        EventKind::Created,
        EventKind::Running,
        EventKind::Stopping(reason),
        EventKind::Stopped { reason, exit_code: Some(0) },
    ];
    assert_eq!(told(&control, &id), expected);
}

#[tokio::test]
async fn the_end_is_told_before_anybody_who_waits_for_it_is_woken() {
    let home = Home::new();
    let control = home.open().await;
    for code in 0..20 {
        let id = create(&control, main(&["sh", "-c", &format!("exit {code}")])).await;
        wait(&control, &id).await;
        let reason = TerminationReason::MainExited;
        assert_eq!(told(&control, &id).last(), Some(&EventKind::Stopped { reason, exit_code: Some(code) }));
    }
}

#[tokio::test]
async fn a_purge_is_the_reason_of_what_it_ends() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let filter = PurgeFilter { all: true, ..PurgeFilter::default() };
    control.purge(&ME, filter, false, &crate::Asked::default()).await.unwrap();
    assert!(told(&control, &id).contains(&EventKind::Stopping(TerminationReason::Purged)));
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_made_is_told_to_have_failed() {
    let home = Home::new();
    let control = home.open().await;
    let id = create(&control, main(&["no-such-program"])).await;
    wait(&control, &id).await;
    let reason = TerminationReason::CreateFailed;
    let expected = [EventKind::Created, EventKind::Stopping(reason), EventKind::Failed(reason)];
    assert_eq!(told(&control, &id), expected);
}

#[tokio::test]
async fn a_later_daemon_tells_what_it_did_about_what_it_found() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    crash(control).await;
    let control = home.open().await;
    reach(&control, &id, State::Running).await;
    assert!(told(&control, &id).contains(&EventKind::Reconciled(Outcome::Adopted)));
}

#[tokio::test]
async fn nobody_hears_of_the_sandboxes_of_others() {
    let home = Home::new();
    let control = home.open().await;
    running(&control, idle()).await;
    let mut events = control.events(&SOMEBODY_ELSE, EventFilter::default());
    assert_eq!(events.try_next(), None);
}
