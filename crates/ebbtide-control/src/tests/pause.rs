//! Frozen sandboxes: nothing runs in them, everything else holds.

use std::time::Duration;

use ebbtide_driver::Driver;
use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{ErrorReason, PauseReason, State, StopOptions, TerminationReason};

use super::*;
use crate::Outcome;

#[tokio::test]
async fn a_paused_sandbox_refuses_work_by_name_and_says_how_it_goes_on() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    for _ in 0..2 {
        let paused = control.pause(&ME, &id).await.unwrap();
        assert_eq!((paused.state, paused.paused), (State::Paused, Some(PauseReason::Asked)));
    }
    let error = exec(&control, &id, &["true"]).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::SandboxPaused);
    assert!(error.to_string().contains(&format!("ebb resume {id}")), "{error}");
    let error = control.open_read(&ME, &id, "/etc/x").await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::SandboxPaused);
    for _ in 0..2 {
        let record = control.resume(&ME, &id).await.unwrap();
        assert_eq!((record.state, record.paused), (State::Running, None));
    }
    exec(&control, &id, &["true"]).await.unwrap();
}

#[tokio::test]
async fn what_is_paused_can_be_stopped_and_its_deadline_ends_it() {
    let home = Home::new();
    let control = home.open().await;
    let stopped = running(&control, main(&["sleep", "60"])).await;
    let short = SandboxSpec { max_lifetime: Some(Duration::from_millis(100)), ..main(&["sleep", "60"]) };
    let expires = running(&control, short).await;
    for id in [&stopped, &expires] {
        control.pause(&ME, id).await.unwrap();
    }
    control.stop(&ME, &stopped, StopOptions { grace: Duration::from_secs(5) }).await.unwrap();
    let ended = wait(&control, &stopped).await;
    assert_eq!(
        (ended.reason, ended.exit_code, ended.paused),
        (Some(TerminationReason::Stopped), Some(143), None)
    );
    assert_eq!(wait(&control, &expires).await.reason, Some(TerminationReason::LifetimeExpired));
    let error = control.pause(&ME, &stopped).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::SandboxNotRunning);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_daemon_finds_what_was_paused_paused_and_for_the_same_reason() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.pause(&ME, &id).await.unwrap();
    crash(control).await;
    let control = home.open().await;
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!((record.state, record.paused), (State::Paused, Some(PauseReason::Asked)));
    // Thawed while nobody looked.
    crash(control).await;
    FakeDriver::on(Arc::clone(&home.world)).resume(&id.parse().unwrap()).await.unwrap();
    let control = home.open().await;
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
    exec(&control, &id, &["true"]).await.unwrap();
}

#[tokio::test]
async fn a_pause_that_fails_leaves_the_sandbox_running() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    home.world.fail_next(Call::Pause, DriverError::Unavailable("busy".to_owned()));
    assert_eq!(control.pause(&ME, &id).await.unwrap_err().reason(), ErrorReason::BackendUnavailable);
    exec(&control, &id, &["true"]).await.unwrap();
}

#[tokio::test]
async fn reconcile_corrects_a_record_that_is_at_odds_with_the_freezer() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let driver = FakeDriver::on(Arc::clone(&home.world));
    driver.pause(&id.parse().unwrap()).await.unwrap();
    for (outcome, state) in [(Outcome::Corrected, State::Paused), (Outcome::InHand, State::Paused)] {
        assert_eq!(control.reconcile().await.unwrap()[0].1, outcome);
        assert_eq!(control.get(&ME, &id).await.unwrap().state, state);
    }
    driver.resume(&id.parse().unwrap()).await.unwrap();
    assert_eq!(control.reconcile().await.unwrap()[0].1, Outcome::Corrected);
    exec(&control, &id, &["true"]).await.unwrap();
}
