//! Sandboxes that nobody uses.

use std::time::{Duration, Instant};

use ebbtide_driver::{ExecRequest, WriteOptions};
use ebbtide_model::{
    IDLE_TIMEOUT_ANNOTATION, KEEP_ANNOTATION, ON_IDLE_ANNOTATION, Ownership, PauseReason, State, StopOptions,
    TerminationReason,
};

use super::*;
use crate::{DeadlineKind, Then};

/// Idle after a second.
fn idles(on_idle: &str, spec: SandboxSpec) -> SandboxSpec {
    let mut spec = spec;
    spec.annotations.insert(IDLE_TIMEOUT_ANNOTATION.to_owned(), "1".to_owned());
    spec.annotations.insert(ON_IDLE_ANNOTATION.to_owned(), on_idle.to_owned());
    spec
}

#[tokio::test]
async fn one_that_nobody_uses_is_stopped() {
    let home = Home::new();
    let control = home.open().await;
    let unused = create(&control, idles("stop", idle())).await;
    let waiting = create(&control, idles("stop", main(&["sleep", "infinity"]))).await;
    for id in [unused, waiting] {
        let ended = wait(&control, &id).await;
        assert_eq!(ended.reason, Some(TerminationReason::Idle));
        assert_eq!(ended.message, "nobody has used it for 1 s");
    }
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_main_command_that_may_be_at_work_is_use() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idles("stop", main(&["sleep", "60"]))).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_command_in_flight_is_use_and_its_end_begins_the_time_anew() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idles("stop", idle())).await;
    let request = ExecRequest { command: main(&["sleep", "60"]).main, ..ExecRequest::default() };
    let used = control.exec(&ME, &id, request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let described = control.describe(&ME, &id).await.unwrap();
    assert_eq!((described.record.state, described.active), (State::Running, 1));
    assert!(described.last_active_at.is_some());
    assert!(described.deadlines.iter().all(|deadline| deadline.kind != DeadlineKind::Idle));
    let begun = Instant::now();
    drop(used);
    let described = control.describe(&ME, &id).await.unwrap();
    assert_eq!((described.deadlines[0].kind, described.deadlines[0].then), (DeadlineKind::Idle, Then::Stop));
    assert_eq!(wait(&control, &id).await.reason, Some(TerminationReason::Idle));
    assert!(begun.elapsed() >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_file_in_flight_is_use_and_a_reader_of_the_log_is_not() {
    let home = Home::new();
    let control = home.open().await;
    let copies = running(&control, idles("stop", idle())).await;
    let read = running(&control, idles("stop", idle())).await;
    let sink = control.open_write(&ME, &copies, "/tmp/x", WriteOptions::default()).await.unwrap();
    let _log = control.output(&ME, &read).await.unwrap();
    assert_eq!(wait(&control, &read).await.reason, Some(TerminationReason::Idle));
    assert_eq!(control.describe(&ME, &copies).await.unwrap().active, 1);
    sink.commit().await.unwrap();
    assert_eq!(control.describe(&ME, &copies).await.unwrap().active, 0);
    assert_eq!(wait(&control, &copies).await.reason, Some(TerminationReason::Idle));
}

#[tokio::test]
async fn one_that_is_paused_for_want_of_use_goes_on_when_it_is_used() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idles("pause", idle())).await;
    for _ in 0..2 {
        let paused = reach(&control, &id, State::Paused).await;
        assert_eq!(paused.paused, Some(PauseReason::Idle));
        assert_eq!(exec(&control, &id, &["echo", "x"]).await.unwrap().0, "x\n");
        assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
    }
    // So it does under another daemon; one that somebody has paused does not.
    reach(&control, &id, State::Paused).await;
    crash(control).await;
    let control = home.open().await;
    assert_eq!(control.get(&ME, &id).await.unwrap().paused, Some(PauseReason::Idle));
    exec(&control, &id, &["true"]).await.unwrap();
    control.pause(&ME, &id).await.unwrap();
    assert!(matches!(
        exec(&control, &id, &["true"]).await,
        Err(ControlError::Paused { why: PauseReason::Asked, .. })
    ));
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
}

#[tokio::test]
async fn an_idle_one_is_kept_where_its_policy_says_so_and_is_not_idle_from_then_on() {
    let home = Home::new();
    let control = home.open().await;
    let mut spec = idles("stop", idle());
    spec.annotations.insert(KEEP_ANNOTATION.to_owned(), "always".to_owned());
    let id = running(&control, spec).await;
    let kept = reach(&control, &id, State::Paused).await;
    assert_eq!(kept.paused, Some(PauseReason::Kept));
    let record = loop {
        let record = control.get(&ME, &id).await.unwrap();
        if record.ownership.is_kept() {
            break record;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(
        matches!(record.ownership, Ownership::Kept { ref why, .. } if why.contains("nobody has used it"))
    );
    control.resume(&ME, &id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
}
