//! How sandboxes end, and what happens when that goes wrong.

use std::time::{Duration, Instant};

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{OwnerProcess, State, StopOptions, TerminationReason};

use super::*;
use crate::{Outcome, PurgeFilter};

fn grace(millis: u64) -> StopOptions {
    StopOptions { grace: Duration::from_millis(millis) }
}

#[tokio::test]
async fn each_cause_becomes_its_reason_and_exit_code() {
    let home = Home::new();
    let control = home.open().await;
    let mut short = main(&["sleep", "60"]);
    short.max_lifetime = Some(Duration::from_millis(50));
    let mut orphan = main(&["sleep", "60"]);
    OwnerProcess { pid: i32::MAX as u32, start_time: 1 }.annotate(&mut orphan.annotations);
    let mut quick = home.config.clone();
    quick.limits.owner_grace = Duration::from_millis(10);
    let exited = create(&control, main(&["sh", "-c", "exit 7"])).await;
    let expired = create(&control, short).await;
    let idle_expired =
        create(&control, SandboxSpec { max_lifetime: Some(Duration::from_millis(50)), ..idle() }).await;
    let killed = running(&control, main(&["sleep", "60"])).await;
    home.world.kill_init(&killed.parse().unwrap());
    for (id, state, reason, exit_code) in [
        (exited, State::Completed, TerminationReason::MainExited, Some(7)),
        (expired, State::Completed, TerminationReason::LifetimeExpired, Some(137)),
        (idle_expired, State::Completed, TerminationReason::LifetimeExpired, Some(0)),
        (killed, State::Failed, TerminationReason::InitKilled, None),
    ] {
        let ended = wait(&control, &id).await;
        assert_eq!((ended.state, ended.reason, ended.exit_code), (state, Some(reason), exit_code));
    }
    control.close().await;

    let home = Home { config: ControlConfig { ledger: home.dir.path().join("quick.db"), ..quick }, ..home };
    let control = home.open().await;
    let id = create(&control, orphan).await;
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::OwnerGone)));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_stop_with_grace_lets_the_main_command_end_by_itself() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    control.stop(&ME, &id, grace(5000)).await.unwrap();
    let start = Instant::now();
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(143)));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_second_stop_shortens_the_grace_and_never_lengthens_it() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"])).await;
    control.stop(&ME, &id, grace(60_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let again = control.stop(&ME, &id, grace(120_000)).await.unwrap();
    assert_eq!(again.state, State::Terminating);
    let start = Instant::now();
    control.stop(&ME, &id, grace(100)).await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(137)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_exec_in_a_sandbox_that_is_not_running_is_refused() {
    let home = Home::new();
    let control = home.open().await;
    let id = create(&control, main(&["true"])).await;
    wait(&control, &id).await;
    let error = exec(&control, &id, &["true"]).await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning { state: State::Completed, .. }), "{error}");
}

#[tokio::test]
async fn a_destroy_that_fails_is_repeated_and_says_so_meanwhile() {
    let mut home = Home::new();
    home.config.timing.retry_first = Duration::from_secs(60);
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    home.world.fail_next(Call::Destroy, DriverError::Unavailable("busy".to_owned()));
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    loop {
        let record = control.get(&ME, &id).await.unwrap();
        assert_eq!(record.state, State::Terminating);
        if record.message.contains("busy") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Its own repetition is a minute away; reconcile brings it forward.
    let outcomes = control.reconcile().await.unwrap();
    assert_eq!(outcomes, [(id.parse().unwrap(), Outcome::InHand)]);
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code, ended.message.as_str()), (State::Completed, Some(137), ""));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_destroy_that_fails_five_times_succeeds_in_the_end() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    for _ in 0..5 {
        home.world.fail_next(Call::Destroy, DriverError::Unavailable("busy".to_owned()));
    }
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &id).await.state, State::Completed);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_watch_that_fails_is_taken_up_again() {
    let home = Home::new();
    for _ in 0..3 {
        home.world.fail_next(Call::Ended, DriverError::Unavailable("restarting".to_owned()));
    }
    let control = home.open().await;
    let id = create(&control, main(&["sh", "-c", "sleep 0.05; exit 3"])).await;
    assert_eq!(wait(&control, &id).await.exit_code, Some(3));
}

#[tokio::test]
async fn a_purge_ends_what_it_names_and_nothing_else() {
    let home = Home::new();
    let control = home.open().await;
    let tagged = |tags: &[&str]| SandboxSpec {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..main(&["sleep", "60"])
    };
    let ab = running(&control, tagged(&["a", "b"])).await;
    let a = running(&control, tagged(&["a"])).await;
    let foreign = control.create(&SOMEBODY_ELSE, tagged(&["a", "b"]), "").await.unwrap().id;
    let filter = |tags: &[&str], all| PurgeFilter { tags: tagged(tags).tags, all };

    let error = control.purge(&ME, filter(&[], false), false, &crate::Asked::default()).await.unwrap_err();
    assert!(matches!(error, ControlError::Invalid(_)));
    let planned =
        control.purge(&ME, filter(&["a", "b"], false), true, &crate::Asked::default()).await.unwrap();
    assert_eq!(planned.matched, [ab.parse().unwrap()]);
    assert_eq!(control.get(&ME, &ab).await.unwrap().state, State::Running);

    let done = control.purge(&ME, filter(&["a", "b"], false), false, &crate::Asked::default()).await.unwrap();
    assert_eq!((done.matched, done.failed, done.retryable), (planned.matched, vec![], vec![]));
    let ended = control.get(&ME, &ab).await.unwrap();
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::Purged)));
    assert_eq!(control.get(&ME, &a).await.unwrap().state, State::Running);

    let done = control.purge(&ME, filter(&[], true), false, &crate::Asked::default()).await.unwrap();
    assert_eq!(done.matched, [a.parse().unwrap()]);
    assert!(!control.get(&SOMEBODY_ELSE, foreign.as_str()).await.unwrap().state.is_terminal());
}

#[tokio::test]
async fn a_purge_names_what_did_not_end_in_time() {
    let mut home = Home::new();
    home.config.timing.settle = Duration::from_millis(100);
    home.config.timing.retry_first = Duration::from_millis(400);
    let control = home.open().await;
    let id = running(&control, idle()).await;
    home.world.fail_next(Call::Destroy, DriverError::Unavailable("busy".to_owned()));
    let done = control
        .purge(&ME, PurgeFilter { tags: vec![], all: true }, false, &crate::Asked::default())
        .await
        .unwrap();
    assert_eq!((done.failed, done.retryable), (vec![], vec![id.parse().unwrap()]));
    assert_eq!(wait(&control, &id).await.state, State::Completed);
}

#[tokio::test]
async fn a_stop_goes_on_while_the_ledger_takes_nothing_and_is_recorded_once_it_does() {
    let home = Home::new();
    let control = home.open().await;
    let stopped = running(&control, idle()).await;
    let killed = running(&control, main(&["sleep", "60"])).await;
    let other = running(&control, idle()).await;
    let store = &control.engine().store;
    store.refuse_writes(true);
    let told = control.stop(&ME, &stopped, StopOptions::NOW).await.unwrap();
    assert_eq!((told.state, told.reason), (State::Terminating, Some(TerminationReason::Stopped)));
    home.world.kill_init(&killed.parse().unwrap());
    // Nothing runs any more, and nobody has been shown an end that the ledger does not know.
    for id in [&stopped, &killed] {
        while !reach(&control, id, State::Terminating).await.message.contains("cannot record its end") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(home.world.processes(&id.parse().unwrap()), 0);
    }
    assert!(matches!(
        control.create(&ME, idle(), "").await,
        Err(ControlError::Ledger(crate::LedgerError::ReadOnly { .. }))
    ));
    assert_eq!(control.get(&ME, &other).await.unwrap().state, State::Running);
    store.refuse_writes(false);
    let record = wait(&control, &stopped).await;
    assert_eq!((record.state, record.reason), (State::Completed, Some(TerminationReason::Stopped)));
    assert_eq!(record.message, "");
    assert_eq!(wait(&control, &killed).await.reason, Some(TerminationReason::InitKilled));
}

#[tokio::test]
async fn a_stop_that_no_ledger_has_recorded_holds_for_the_next_daemon() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.engine().store.refuse_writes(true);
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    crash(control).await;
    let control = home.open().await;
    let record = wait(&control, &id).await;
    assert_eq!((record.state, record.reason), (State::Completed, Some(TerminationReason::Stopped)));
}
