//! What becomes of a sandbox whose main command has ended, by its keep policy.

use std::time::{Duration, SystemTime};

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{
    KEEP_ANNOTATION, KEEP_FOR_ANNOTATION, MainEnd, Ownership, State, StopOptions, TerminationReason,
};

use super::*;
use crate::{Adopter, Asked, DeadlineKind, ListFilter, Occasion, PurgeFilter};

/// Leaves a file and ends with this code, once there is a file that says so.
fn job(code: u8, keep: &str, keep_for: &str) -> SandboxSpec {
    let script = format!("echo half > /tmp/result; until test -e /tmp/go; do sleep 0.01; done; exit {code}");
    let mut spec = main(&["sh", "-c", &script]);
    spec.annotations.insert(KEEP_ANNOTATION.to_owned(), keep.to_owned());
    spec.annotations.insert(KEEP_FOR_ANNOTATION.to_owned(), keep_for.to_owned());
    spec
}

async fn go(control: &Control, id: &str) {
    let sink = control.open_write(&ME, id, "/tmp/go", ebbtide_driver::WriteOptions::default()).await.unwrap();
    sink.commit().await.unwrap();
}

async fn failed(control: &Control, keep_for: &str) -> String {
    let id = running(control, job(3, "on_failure", keep_for)).await;
    go(control, &id).await;
    wait(control, &id).await;
    id
}

async fn result(control: &Control, id: &str) -> Vec<u8> {
    let mut file = control.open_read(&ME, id, "/tmp/result").await.unwrap();
    file.content.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_failed_main_command_is_told_at_once_and_its_files_are_kept_until_a_stop() {
    let home = Home::new();
    let control = home.open().await;
    let mut spec = job(3, "on_failure", "600");
    spec.main.env.insert("TOKEN".to_owned(), "hunter2-hunter2".to_owned());
    let id = running(&control, spec).await;
    let command = main(&["sleep", "60"]).main;
    let request = ebbtide_driver::ExecRequest { command, ..Default::default() };
    let mut other = control.exec(&ME, &id, request).await.unwrap();
    go(&control, &id).await;
    let record = wait(&control, &id).await;
    let Some(MainEnd { reason, exit_code, at }) = record.main_end else { panic!("{record:?}") };
    assert_eq!((reason, exit_code, record.exit_code), (TerminationReason::MainExited, 3, Some(3)));
    assert_eq!((record.state, record.shown_state(), record.reason), (State::Running, State::Completed, None));
    let Ownership::Kept { why, until, .. } = &record.ownership else { panic!("{record:?}") };
    assert_eq!(why, "its main command failed with 3 (keep = on_failure)");
    assert_eq!(*until, at + Duration::from_secs(600));
    assert_eq!(record.spec.main.env["TOKEN"], "");
    // Whatever else ran in it is gone, and it can be looked at.
    assert_eq!(other.events.next().await.unwrap(), ExecEvent::Exit(ExitStatus::Signal(9)));
    assert_eq!(home.world.processes(&record.id), 0);
    assert_eq!(result(&control, &id).await, b"half\n");
    assert_eq!(exec(&control, &id, &["cat", "/tmp/result"]).await.unwrap().0, "half\n");
    let described = control.describe(&ME, &id).await.unwrap();
    assert_eq!(described.deadlines[0].kind, DeadlineKind::Keep);
    assert_eq!(*control.live().borrow(), 1);
    // A session that closes spares it, an explicit stop does not.
    let closing = Asked { by: None, occasion: Occasion::Session };
    assert_eq!(control.stop_as(&ME, &id, StopOptions::NOW, closing).await.unwrap().state, State::Running);
    let stopped = control.stop(&ME, &id, StopOptions { grace: Duration::from_secs(60) }).await.unwrap();
    assert_eq!((stopped.state, stopped.shown_state()), (State::Terminating, State::Completed));
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::MainExited)));
    assert_eq!((ended.exit_code, ended.main_end), (Some(3), record.main_end));
    assert_eq!(ended.ended_by.as_deref(), Some("uid:1000"));
    assert!(ended.message.contains("stopped") && ended.receipt.is_some(), "{ended:?}");
    assert_eq!((home.exists().await, *control.live().borrow()), (0, 0));
    control.close().await;
    let stored = crate::ledger::read_only(&home.config.ledger).unwrap();
    assert_eq!(stored[0].spec.main.env["TOKEN"], "");
}

#[tokio::test]
async fn every_policy_decides_what_becomes_of_a_main_command_that_ends() {
    let home = Home::new();
    let control = home.open().await;
    for (keep, code, adopted, kept) in [
        ("never", 3, false, false),
        ("on_failure", 3, false, true),
        ("on_failure", 0, false, false),
        ("always", 3, false, true),
        ("always", 0, false, true),
        ("attached", 3, false, false),
        ("attached", 3, true, true),
    ] {
        let id = running(&control, job(code, keep, "600")).await;
        let lease = control.open_lease(&ME, None, "").unwrap();
        if adopted {
            let adopter = Adopter::Lease(lease.token().expose().to_owned());
            control.adopt(&ME, &id, &adopter).await.unwrap();
        }
        go(&control, &id).await;
        let record = wait(&control, &id).await;
        assert_eq!(record.exit_code, Some(code.into()), "{keep} {code}");
        assert_eq!(record.main_end.is_some(), kept, "{keep} {code} {record:?}");
        assert_eq!(record.state.is_terminal(), !kept, "{keep} {code} {record:?}");
        assert_eq!(record.reason.is_none(), kept, "{keep} {code} {record:?}");
    }
    control.shutdown().await.unwrap();
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn what_is_kept_of_a_failure_keeps_its_deadline_over_a_restart() {
    let home = Home::new();
    let control = home.open().await;
    let id = failed(&control, "1").await;
    let kept = control.get(&ME, &id).await.unwrap();
    crash(control).await;
    let control = home.open().await;
    assert_eq!(control.get(&ME, &id).await.unwrap(), kept);
    assert_eq!(result(&control, &id).await, b"half\n");
    let ended = reach(&control, &id, State::Completed).await;
    assert_eq!((ended.reason, ended.exit_code), (Some(TerminationReason::MainExited), Some(3)));
    assert!(ended.message.contains("keep_expired"), "{ended:?}");
    let Ownership::Kept { until, .. } = kept.ownership else { panic!("{kept:?}") };
    assert!(ended.ended_at.unwrap() >= until);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_main_command_that_fails_without_a_daemon_is_kept_by_the_next_one_or_ends_by_itself() {
    let home = Home::new();
    let control = home.open().await;
    let (soon, late) = ("sleep 0.1; echo half > /tmp/result; exit 3", "sleep 0.1; exit 4");
    let spec = |script: &str, keep_for: &str| {
        let mut spec = job(3, "on_failure", keep_for);
        spec.main.argv[2] = script.to_owned();
        spec
    };
    let kept = running(&control, spec(soon, "600")).await;
    let over = running(&control, spec(late, "1")).await;
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let now = SystemTime::now();
    let control = home.open().await;
    let record = wait(&control, &kept).await;
    assert_eq!((record.state, record.exit_code), (State::Running, Some(3)));
    // As if a daemon had been there.
    let Ownership::Kept { until, .. } = record.ownership else { panic!("{record:?}") };
    assert!(until < now + Duration::from_secs(599), "{until:?}");
    assert_eq!(result(&control, &kept).await, b"half\n");
    let ended = wait(&control, &over).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::MainExited)));
    assert_eq!((ended.exit_code, ended.main_end), (Some(4), None));
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_driver_that_fails_meanwhile_is_asked_again() {
    let home = Home::new();
    let control = home.open().await;
    for call in [Call::MainEnded, Call::Guard, Call::Pause] {
        let id = running(&control, job(3, "on_failure", "600")).await;
        home.world.fail_next(call, DriverError::Unavailable("a planted fault".to_owned()));
        go(&control, &id).await;
        let record = wait(&control, &id).await;
        assert!(record.ownership.is_kept() && record.main_end.is_some(), "{call:?} {record:?}");
    }
    control.shutdown().await.unwrap();
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn clients_of_the_public_protocol_see_it_among_those_that_have_ended() {
    let home = Home::new();
    let control = home.open().await;
    let id = failed(&control, "600").await;
    let count = async |filter: ListFilter| control.list(&ME, filter).await.unwrap().records.len();
    let shown = ListFilter { as_shown: true, ..ListFilter::default() };
    assert_eq!(count(shown.clone()).await, 0);
    assert_eq!(count(ListFilter { show_terminated: true, ..shown.clone() }).await, 1);
    assert_eq!(count(ListFilter { state: Some(State::Completed), ..shown.clone() }).await, 1);
    assert_eq!(count(ListFilter { state: Some(State::Running), ..shown }).await, 0);
    // Those of ours among those that have not.
    assert_eq!(count(ListFilter::default()).await, 1);
    let all = PurgeFilter { tags: vec![], all: true };
    let purged = control.purge(&ME, all, false, &Asked::default()).await.unwrap();
    assert_eq!((purged.matched.len(), purged.failed.len()), (1, 0));
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Completed);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn whoever_adopts_what_is_kept_of_a_failure_has_it_until_its_end_spares_it_again() {
    let home = Home::new();
    let control = home.open().await;
    let id = failed(&control, "600").await;
    let lease = control.open_lease(&ME, None, "").unwrap();
    let adopter = Adopter::Lease(lease.token().expose().to_owned());
    let record = control.adopt(&ME, &id, &adopter).await.unwrap();
    assert!(matches!(record.ownership, Ownership::Owned { adopted: true, .. }), "{record:?}");
    assert_eq!(record.shown_state(), State::Completed);
    assert_eq!(result(&control, &id).await, b"half\n");
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &id).await.reason, Some(TerminationReason::MainExited));
}

#[tokio::test]
async fn who_follows_the_output_of_a_failed_main_command_comes_to_its_end() {
    let home = Home::new();
    let control = home.open().await;
    let mut spec = job(3, "on_failure", "600");
    spec.main.argv[2] = "echo said; sleep 0.1; exit 3".to_owned();
    let id = running(&control, spec).await;
    let mut output = control.output(&ME, &id).await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        loop {
            while let Some(record) = output.next().await.unwrap() {
                read.extend(record.data);
            }
            if !output.more().await.unwrap() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap();
    assert_eq!(read, b"said\n");
    assert!(control.get(&ME, &id).await.unwrap().main_end.is_some());
}
