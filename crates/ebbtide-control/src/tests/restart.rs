//! A daemon dies in every state that a sandbox can be in, and the next one goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_driver::fake::Call;
use ebbtide_driver::{AtMainEnd, DeadMansSwitch, Driver, DriverError, RootImage, SandboxPlan};
use ebbtide_model::{
    EffectiveResources, MountedFile, OwnerProcess, SandboxId, State, StopOptions, TerminationReason,
};

use super::*;
use crate::Outcome;

fn plan(id: &SandboxId, spec: &SandboxSpec) -> SandboxPlan {
    SandboxPlan {
        id: id.clone(),
        image: RootImage::Host,
        main: spec.main.clone(),
        user: None,
        stop_signal: None,
        files: Vec::new(),
        resources: EffectiveResources::default(),
        lifetime: Duration::from_secs(60),
        switch: DeadMansSwitch::Off,
        at_main_end: AtMainEnd::End,
    }
}

/// Records the wish for a sandbox and dies before anything is made.
async fn intent_only(home: &Home, spec: SandboxSpec) -> SandboxId {
    let control = home.open().await;
    let (record, _) = crate::lifecycle::intent(control.engine(), &ME, spec, "", None).unwrap();
    crash(control).await;
    record.id
}

async fn outcomes(home: &Home) -> (Control, BTreeMap<SandboxId, Outcome>) {
    let driver = FakeDriver::on(Arc::clone(&home.world));
    let engine = Arc::new(crate::engine::Engine::open(home.config.clone(), Arc::new(driver)).await.unwrap());
    let outcomes = crate::reconcile::pass(&engine).await.unwrap();
    engine.tasks.close().await;
    drop(engine);
    (home.open().await, outcomes.into_iter().collect())
}

#[tokio::test]
async fn a_running_sandbox_is_adopted_and_used_and_its_end_is_heard() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sh", "-c", "sleep 0.3; exit 7"])).await;
    let started = control.get(&ME, &id).await.unwrap().started_at;
    control.close().await;
    let (control, outcomes) = outcomes(&home).await;
    assert_eq!(outcomes[&id.parse().unwrap()], Outcome::Adopted);
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!((record.state, record.started_at), (State::Running, started));
    exec(&control, &id, &["true"]).await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(7)));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_running_sandbox_whose_mark_was_not_written_is_adopted_too() {
    let mut home = Home::new();
    home.config.timing.mark = Duration::from_secs(60);
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    crash(control).await;
    assert_eq!(crate::ledger::read_only(&home.config.ledger).unwrap()[0].state, State::Pending);
    let control = home.open().await;
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!(record.state, State::Running);
    assert!(record.started_at.is_some());
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &id).await.exit_code, Some(137));
}

#[tokio::test]
async fn an_exit_while_no_daemon_ran_is_reported_with_its_code() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sh", "-c", "sleep 0.05; exit 9"])).await;
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (control, outcomes) = outcomes(&home).await;
    assert_eq!(outcomes[&id.parse().unwrap()], Outcome::Finished);
    let ended = wait(&control, &id).await;
    assert_eq!(
        (ended.state, ended.reason, ended.exit_code),
        (State::Completed, Some(TerminationReason::MainExited), Some(9))
    );
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_create_that_was_never_begun_is_resumed_under_its_id() {
    let home = Home::new();
    let id = intent_only(&home, idle()).await;
    let control = home.open().await;
    exec(&control, id.as_str(), &["true"]).await.unwrap();
}

#[tokio::test]
async fn a_resumed_create_still_has_its_mounted_files_and_the_ledger_then_forgets_what_they_hold() {
    let home = Home::new();
    let files = [("/etc/one", "first"), ("/etc/two", ""), ("/etc/three", "third")];
    let mounted_files = files.map(|(path, content)| MountedFile::new(path, content.as_bytes())).to_vec();
    let id = intent_only(&home, SandboxSpec { mounted_files: mounted_files.clone(), ..idle() }).await;
    let kept = || {
        let ledger = rusqlite::Connection::open(&home.config.ledger).unwrap();
        ledger.query_row("SELECT count(*) FROM mounted", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(kept(), 1);
    let control = home.open().await;
    for (path, content) in files {
        let mut file = control.open_read(&ME, id.as_str(), path).await.unwrap();
        let found = file.content.next().await.unwrap().unwrap_or_default();
        assert_eq!(String::from_utf8(found).unwrap(), content);
    }
    control.close().await;
    assert_eq!(kept(), 0);
    assert_eq!(control.get(&ME, id.as_str()).await.unwrap().spec.mounted_files, mounted_files);
}

#[tokio::test]
async fn a_create_that_was_cut_off_in_the_middle_is_completed() {
    let home = Home::new();
    let spec = main(&["sh", "-c", "exit 4"]);
    let id = intent_only(&home, spec.clone()).await;
    home.world.plant_half_made(plan(&id, &spec));
    let control = home.open().await;
    assert_eq!(wait(&control, id.as_str()).await.exit_code, Some(4));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_create_that_had_succeeded_unheard_does_not_start_twice() {
    let home = Home::new();
    let spec = main(&["sh", "-c", "exit 4"]);
    let id = intent_only(&home, spec.clone()).await;
    FakeDriver::on(Arc::clone(&home.world)).create(&plan(&id, &spec)).await.unwrap();
    let control = home.open().await;
    assert_eq!(wait(&control, id.as_str()).await.exit_code, Some(4));
}

#[tokio::test]
async fn a_resumed_create_whose_lifetime_is_over_or_owner_is_gone_ends() {
    let home = Home::new();
    let expired = SandboxSpec { max_lifetime: Some(Duration::from_millis(20)), ..main(&["true"]) };
    let mut orphan = main(&["true"]);
    OwnerProcess { pid: i32::MAX as u32, start_time: 1 }.annotate(&mut orphan.annotations);
    let expired = intent_only(&home, expired).await;
    // The second daemon dies before the first create is resumed, so both are left for the third.
    let orphan = {
        let control = home.open().await;
        let (record, _) = crate::lifecycle::intent(control.engine(), &ME, orphan, "", None).unwrap();
        crash(control).await;
        record.id
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    let control = home.open().await;
    for (id, reason) in
        [(expired, TerminationReason::LifetimeExpired), (orphan, TerminationReason::OwnerGone)]
    {
        let ended = wait(&control, id.as_str()).await;
        assert_eq!((ended.state, ended.reason, ended.started_at), (State::Failed, Some(reason), None));
    }
}

#[tokio::test]
async fn an_ending_goes_on_with_the_rest_of_its_grace() {
    let home = Home::new();
    let control = home.open().await;
    let stubborn = main(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]);
    let id = running(&control, stubborn).await;
    control.stop(&ME, &id, StopOptions { grace: Duration::from_millis(400) }).await.unwrap();
    crash(control).await;
    let (control, outcomes) = outcomes(&home).await;
    assert_eq!(outcomes[&id.parse().unwrap()], Outcome::EndingResumed);
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Terminating);
    let ended = wait(&control, &id).await;
    assert_eq!(
        (ended.state, ended.reason, ended.exit_code),
        (State::Completed, Some(TerminationReason::Stopped), Some(137))
    );
}

#[tokio::test]
async fn an_ending_that_lacked_only_its_tombstone_keeps_its_exit_code() {
    let home = Home::new();
    let control = home.open().await;
    let engine = Arc::clone(control.engine());
    let graceful = running(&control, main(&["sleep", "60"])).await;
    let killed = running(&control, main(&["sleep", "60"])).await;
    let idle = running(&control, idle()).await;
    engine.tasks.close().await;
    // What the steps before the tombstone do, by hand: the daemon dies right before it.
    for (id, exit_code) in [(&graceful, Some(143)), (&killed, None), (&idle, None)] {
        let sandbox = Arc::clone(&engine.live()[&id.parse().unwrap()]);
        let ending = crate::sandbox::Ending::new(TerminationReason::Stopped);
        sandbox.begin_ending(&engine.store, &ending).unwrap();
        if let Some(exit_code) = exit_code {
            sandbox.record_exit(&engine.store, exit_code).unwrap();
        }
        engine.driver.destroy(&sandbox.id).await.unwrap();
    }
    drop((control, engine));
    let control = home.open().await;
    for (id, exit_code) in [(graceful, 143), (killed, 137), (idle, 0)] {
        let ended = wait(&control, &id).await;
        assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(exit_code)));
    }
}

#[tokio::test]
async fn a_sandbox_that_ran_and_vanished_fails_and_is_not_started_again() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    control.close().await;
    let driver = FakeDriver::on(Arc::clone(&home.world));
    driver.destroy(&id.parse().unwrap()).await.unwrap();
    let (control, outcomes) = outcomes(&home).await;
    assert_eq!(outcomes[&id.parse().unwrap()], Outcome::Lost);
    let ended = wait(&control, &id).await;
    assert_eq!(
        (ended.state, ended.reason, ended.exit_code),
        (State::Failed, Some(TerminationReason::Reconciled), None)
    );
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn a_sandbox_that_vanishes_under_a_live_daemon_fails() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, main(&["sleep", "60"])).await;
    FakeDriver::on(Arc::clone(&home.world)).destroy(&id.parse().unwrap()).await.unwrap();
    control.reconcile().await.unwrap();
    assert!(wait(&control, &id).await.state.is_terminal());
}

#[tokio::test]
async fn what_the_ledger_does_not_know_is_destroyed() {
    let home = Home::new();
    let control = home.open().await;
    let ours = running(&control, idle()).await;
    let ended = running(&control, idle()).await;
    control.stop(&ME, &ended, StopOptions::NOW).await.unwrap();
    wait(&control, &ended).await;
    let driver = FakeDriver::on(Arc::clone(&home.world));
    let (unknown, ended) = (SandboxId::generate(), ended.parse().unwrap());
    for id in [&unknown, &ended] {
        driver.create(&plan(id, &idle())).await.unwrap();
    }
    home.world.fail_next(Call::Destroy, DriverError::Unavailable("busy".to_owned()));
    let first: BTreeMap<_, _> = control.reconcile().await.unwrap().into_iter().collect();
    let mut both = [first[&unknown], first[&ended]];
    both.sort_by_key(|outcome| *outcome == Outcome::RetryLater);
    assert_eq!(both, [Outcome::Destroyed, Outcome::RetryLater]);
    control.reconcile().await.unwrap();
    assert_eq!(home.exists().await, 1);
    assert_eq!(control.get(&ME, &ours).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_restarted_machine_ends_every_record_with_its_reason() {
    let mut home = Home::new();
    let control = home.open().await;
    let ran = running(&control, main(&["sleep", "60"])).await;
    let idle = running(&control, idle()).await;
    let stopping = running(&control, main(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"])).await;
    control.stop(&ME, &stopping, StopOptions { grace: Duration::from_secs(60) }).await.unwrap();
    control.close().await;
    home.config.boot_id = "boot-2".to_owned();
    home.world = Arc::default();
    let control = home.open().await;
    for id in [ran, idle, stopping] {
        let ended = wait(&control, &id).await;
        assert_eq!(
            (ended.state, ended.reason, ended.exit_code),
            (State::Failed, Some(TerminationReason::HostRestarted), None)
        );
    }
}

#[tokio::test]
async fn a_repeated_create_after_a_restart_answers_with_the_same_sandbox() {
    let home = Home::new();
    let control = home.open().await;
    let id = control.create(&ME, idle(), "once").await.unwrap().id;
    crash(control).await;
    let control = home.open().await;
    assert_eq!(control.create(&ME, idle(), "once").await.unwrap().id, id);
    let error = control.create(&ME, main(&["true"]), "once").await.unwrap_err();
    assert!(matches!(error, ControlError::RequestIdConflict { .. }));
}

#[tokio::test]
async fn a_driver_that_cannot_say_what_it_has_stops_the_start() {
    let home = Home::new();
    home.world.fail_next(Call::List, DriverError::Unavailable("away".to_owned()));
    assert!(matches!(home.try_open().await, Err(ControlError::Driver(DriverError::Unavailable(_)))));
    home.open().await;
}

#[tokio::test]
async fn a_sandbox_whose_task_has_died_is_taken_up_by_reconcile() {
    let home = Home::new();
    let control = home.open().await;
    let (record, _) = crate::lifecycle::intent(control.engine(), &ME, idle(), "", None).unwrap();
    assert_eq!(control.reconcile().await.unwrap(), [(record.id.clone(), Outcome::Resumed)]);
    reach(&control, record.id.as_str(), State::Running).await;
    assert_eq!(control.reconcile().await.unwrap(), [(record.id, Outcome::InHand)]);
}
