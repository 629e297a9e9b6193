//! From create to gone, and what is refused.

use std::time::Duration;

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{ErrorReason, ExitStatus, State, StopOptions, TerminationReason};

use super::*;

#[tokio::test]
async fn a_sandbox_is_made_used_stopped_and_gone() {
    let home = Home::new();
    let control = home.open().await;
    let record = control.create(&ME, idle(), "").await.unwrap();
    assert_eq!((record.state, record.started_at), (State::Pending, None));
    let id = record.id.as_str();
    // At once: it waits for the create.
    let (output, status) = exec(&control, id, &["echo", "hello"]).await.unwrap();
    assert_eq!((output.as_str(), status), ("hello\n", ExitStatus::Code(0)));
    let running = control.get(&ME, id).await.unwrap();
    assert_eq!(running.state, State::Running);
    assert!(running.started_at >= Some(running.created_at));
    assert_eq!(*control.live().borrow(), 1);

    let stopped = control.stop(&ME, id, StopOptions::NOW).await.unwrap();
    assert_eq!((stopped.state, stopped.reason), (State::Terminating, Some(TerminationReason::Stopped)));
    let ended = wait(&control, id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(0)));
    assert!(ended.ended_at >= ended.started_at);
    assert_eq!(control.get(&ME, id).await.unwrap(), ended);
    assert_eq!(control.stop(&ME, id, StopOptions::NOW).await.unwrap(), ended);
    assert_eq!(*control.live().borrow(), 0);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn from_create_to_gone_costs_three_commits() {
    let mut home = Home::new();
    home.config.timing.mark = Duration::from_millis(50);
    let control = home.open().await;
    let before = control.engine().store.commits();
    let id = create(&control, main(&["sleep", "60"])).await;
    exec(&control, &id, &["true"]).await.unwrap();
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &id).await.exit_code, Some(137));
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(control.engine().store.commits() - before, 3);

    let before = control.engine().store.commits();
    let id = create(&control, main(&["sh", "-c", "exit 7"])).await;
    assert_eq!(wait(&control, &id).await.exit_code, Some(7));
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(control.engine().store.commits() - before, 3);
}

#[tokio::test]
async fn the_mark_of_a_running_sandbox_is_written_once_for_many() {
    let mut home = Home::new();
    home.config.timing.mark = Duration::from_millis(100);
    let control = home.open().await;
    let before = control.engine().store.commits();
    for _ in 0..5 {
        running(&control, idle()).await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(control.engine().store.commits() - before, 5 + 1);
    assert!(crate::ledger::read_only(&home.config.ledger).unwrap().iter().all(|r| r.state == State::Running));
}

#[tokio::test]
async fn the_same_request_id_makes_one_sandbox() {
    let home = Home::new();
    let control = home.open().await;
    let create = || control.create(&ME, idle(), "once");
    let (a, b, c, d) = tokio::join!(create(), create(), create(), create());
    let id = a.unwrap().id;
    for other in [b, c, d] {
        assert_eq!(other.unwrap().id, id);
    }
    assert_eq!(*control.live().borrow(), 1);
    control.stop(&ME, id.as_str(), StopOptions::NOW).await.unwrap();
    wait(&control, id.as_str()).await;
    let again = create().await.unwrap();
    assert_eq!((again.id.clone(), again.state), (id.clone(), State::Completed));
    // Somebody else's request ids are their own.
    assert_ne!(control.create(&SOMEBODY_ELSE, idle(), "once").await.unwrap().id, id);
    // Without a request id nothing is the same.
    assert_ne!(
        control.create(&ME, idle(), "").await.unwrap().id,
        control.create(&ME, idle(), "").await.unwrap().id
    );
}

#[tokio::test]
async fn a_request_id_with_another_spec_is_refused() {
    let home = Home::new();
    let control = home.open().await;
    control.create(&ME, idle(), "once").await.unwrap();
    let error = control.create(&ME, main(&["true"]), "once").await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::RequestIdConflict);
    assert_eq!(*control.live().borrow(), 1);
}

#[tokio::test]
async fn what_is_invalid_is_refused_before_it_is_recorded() {
    let home = Home::new();
    let control = home.open().await;
    let before = control.engine().store.commits();
    let mut tiny = idle();
    tiny.resources.limits.memory = Some("1".parse().unwrap());
    let mut immortal = idle();
    immortal.max_lifetime = Some(Duration::from_secs(1 << 40));
    for spec in [tiny, immortal, main(&[""])] {
        let error = control.create(&ME, spec, "").await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::InvalidRequest, "{error}");
    }
    let error = control.create(&ME, idle(), &"x".repeat(1000)).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::InvalidRequest, "{error}");
    assert_eq!(control.engine().store.commits(), before);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_foreign_sandbox_and_a_malformed_id_are_not_found() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let unknown = ebbtide_model::SandboxId::generate().to_string();
    for (principal, id) in [(SOMEBODY_ELSE, id.as_str()), (ME, "../etc"), (ME, ""), (ME, &unknown)] {
        let request = ExecRequest { command: main(&["true"]).main, stdin: false, terminal: None };
        let errors = [
            control.get(&principal, id).await.unwrap_err(),
            control.stop(&principal, id, StopOptions::NOW).await.unwrap_err(),
            control.wait(&principal, id).await.unwrap_err(),
            control.exec(&principal, id, request).await.err().unwrap(),
        ];
        for error in errors {
            assert!(matches!(error, ControlError::NotFound { .. }), "{error}");
        }
    }
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_failed_create_leaves_a_record_and_nothing_else() {
    let home = Home::new();
    let control = home.open().await;
    home.world.fail_next(Call::Create, DriverError::NoRoom { what: "the disk".to_owned() });
    let id = create(&control, idle()).await;
    let error = exec(&control, &id, &["true"]).await.unwrap_err();
    assert!(matches!(error, ControlError::NotMade { .. }), "{error}");
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Failed, None));
    assert_eq!(ended.reason, Some(TerminationReason::CreateFailed));
    assert!(ended.message.contains("the disk"), "{}", ended.message);
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_create_goes_on_while_the_runtime_is_being_replaced() {
    let home = Home::new();
    let control = home.open().await;
    for _ in 0..3 {
        home.world.fail_next(Call::Create, DriverError::Unavailable("restarting".to_owned()));
    }
    running(&control, idle()).await;
}

#[tokio::test]
async fn more_creates_than_may_go_on_at_once_wait_as_pending() {
    let mut home = Home::new();
    home.config.max_concurrent_creates = 1;
    home.world.delay_creates(Duration::from_millis(200));
    let control = home.open().await;
    let first = create(&control, idle()).await;
    let second = create(&control, idle()).await;
    reach(&control, &first, State::Creating).await;
    assert_eq!(control.get(&ME, &second).await.unwrap().state, State::Pending);
    // One that is stopped while it waits never runs.
    let third = create(&control, main(&["true"])).await;
    control.stop(&ME, &third, StopOptions::NOW).await.unwrap();
    let ended = wait(&control, &third).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::Stopped)));
    assert_eq!(ended.started_at, None);
    reach(&control, &second, State::Running).await;
}

#[tokio::test]
async fn a_create_that_waits_longer_than_its_lifetime_ends() {
    let mut home = Home::new();
    home.config.max_concurrent_creates = 1;
    home.world.delay_creates(Duration::from_millis(600));
    let control = home.open().await;
    let first = create(&control, idle()).await;
    reach(&control, &first, State::Creating).await;
    let mut short = main(&["true"]);
    short.max_lifetime = Some(Duration::from_millis(50));
    let id = create(&control, short).await;
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Failed, Some(TerminationReason::LifetimeExpired)));
}

#[tokio::test]
async fn nothing_is_created_during_a_shutdown() {
    let home = Home::new();
    let control = home.open().await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(control.create(&ME, main(&["sleep", "60"]), &number.to_string()).await.unwrap().id);
    }
    running(&control, idle()).await;
    control.shutdown().await.unwrap();
    assert_eq!(home.exists().await, 0);
    assert_eq!(*control.live().borrow(), 0);
    for id in &ids {
        let ended = control.get(&ME, id.as_str()).await.unwrap();
        assert!(ended.state.is_terminal());
        assert_eq!(ended.reason, Some(TerminationReason::Shutdown));
    }
    let error = control.create(&ME, idle(), "").await.unwrap_err();
    assert!(matches!(error, ControlError::ShuttingDown));
    // A repetition is still answered.
    let again = control.create(&ME, main(&["sleep", "60"]), "3").await.unwrap();
    assert_eq!(again.id, ids[3]);
}
