//! What is kept, for how long, and why.

use std::time::{Duration, SystemTime};

use ebbtide_model::{Holder, OwnerProcess};
use ebbtide_model::{
    KEEP_ANNOTATION, KEEP_AS_ANNOTATION, KEEP_FOR_ANNOTATION, Keep, KeepAs, Limits, OrphanReason, Ownership,
    PauseReason, State, StopOptions, TerminationReason,
};

use super::*;
use crate::keep::{CleanUp, Verdict, decide, record_longer, switch_grace};
use crate::{Asked, DeadlineKind, EventFilter, EventItem, EventKind, Occasion, Then};

const SESSION: Occasion = Occasion::Session;

fn asked(occasion: Occasion) -> Asked {
    Asked { by: Some("process 123 (python3)".to_owned()), occasion }
}

fn keeps(keep: &str, spec: SandboxSpec) -> SandboxSpec {
    let mut spec = spec;
    spec.annotations.insert(KEEP_ANNOTATION.to_owned(), keep.to_owned());
    spec
}

fn annotated(mut spec: SandboxSpec, key: &str, value: &str) -> SandboxSpec {
    spec.annotations.insert(key.to_owned(), value.to_owned());
    spec
}

fn holder() -> Holder {
    Holder { label: "python3".to_owned(), ..Holder::process(OwnerProcess { pid: 7, start_time: 1 }) }
}

/// Makes an orphan of a sandbox whose grace is over.
fn orphan(control: &Control, id: &str, adopted: bool) -> Arc<crate::sandbox::Sandbox> {
    let engine = control.engine();
    let sandbox = Arc::clone(&engine.live()[&id.parse().unwrap()]);
    let since = engine.time.now();
    let orphaned =
        Ownership::Orphaned { by: holder(), adopted, why: OrphanReason::ProcessEnded, since, until: since };
    sandbox.change(&engine.store, |record| record.ownership = orphaned).unwrap();
    sandbox
}

#[tokio::test]
async fn every_policy_answers_every_clean_up() {
    let home = Home::new();
    let control = home.open().await;
    let made = control.create(&ME, idle(), "").await.unwrap();
    let record = |keep, adopted| {
        let mut record = SandboxRecord { state: State::Running, ..made.clone() };
        record.ownership = Ownership::Owned { by: holder(), adopted, since: None };
        record.policy.keep = keep;
        record
    };
    let (owner, idle, session, scope) = (CleanUp::OwnerGone, CleanUp::Idle, CleanUp::Session, CleanUp::Scope);
    for (keep, adopted, kept) in [
        (Keep::Never, false, vec![]),
        (Keep::Never, true, vec![]),
        (Keep::OnFailure, false, vec![owner]),
        (Keep::OnFailure, true, vec![owner]),
        (Keep::Always, false, vec![owner, idle, session, scope]),
        (Keep::Always, true, vec![owner, idle, session, scope]),
        (Keep::Attached, false, vec![]),
        (Keep::Attached, true, vec![owner, session, scope]),
    ] {
        for clean_up in [owner, idle, session, scope] {
            let verdict = decide(&record(keep, adopted), clean_up, made.created_at);
            assert_eq!(verdict != Verdict::End, kept.contains(&clean_up), "{keep} {adopted} {clean_up:?}");
        }
        let longer = switch_grace(&record(keep, adopted)) > made.policy.orphan_grace;
        assert_eq!(longer, kept.contains(&owner), "{keep} {adopted}");
    }
    // Nothing outlives its lifetime, and what is not there cannot be kept.
    let always = record(Keep::Always, false);
    let Verdict::Keep { until, .. } = decide(&always, owner, made.created_at) else { panic!("not kept") };
    assert!(until <= made.deadline);
    assert_eq!(decide(&always, owner, made.deadline), Verdict::End);
    for state in [State::Pending, State::Creating, State::Terminating, State::Completed] {
        assert_eq!(decide(&SandboxRecord { state, ..always.clone() }, owner, made.created_at), Verdict::End);
    }
}

#[tokio::test]
async fn a_record_of_a_failure_is_kept_for_longer_and_of_a_success_or_a_stop_is_not() {
    let home = Home::new();
    let control = home.open().await;
    let made = control.create(&ME, idle(), "").await.unwrap();
    let longer = |keep, reason, exit_code| {
        let mut record = SandboxRecord { reason: Some(reason), ..made.clone() };
        record.policy = ebbtide_model::Policy { keep, keep_for: Duration::from_secs(7200), ..record.policy };
        record_longer(&record, exit_code, &Limits::default())
    };
    let (exited, hour) = (TerminationReason::MainExited, Duration::from_secs(3600));
    assert_eq!(longer(Keep::OnFailure, exited, Some(1)), hour);
    assert_eq!(longer(Keep::Always, TerminationReason::OutOfMemory, Some(137)), hour);
    for (keep, reason, exit_code) in [
        (Keep::OnFailure, exited, Some(0)),
        (Keep::Never, exited, Some(1)),
        (Keep::Attached, exited, Some(1)),
        (Keep::Always, TerminationReason::Stopped, Some(143)),
        (Keep::Always, TerminationReason::CreateFailed, None),
    ] {
        assert_eq!(longer(keep, reason, exit_code), Duration::ZERO, "{keep} {reason}");
    }
}

#[tokio::test]
async fn a_failed_record_outlives_the_retention_of_others() {
    let mut home = Home::new();
    home.config.limits.retention = Duration::ZERO;
    let control = home.open().await;
    let failing = || main(&["sh", "-c", "sleep 0.05; exit 3"]);
    // Nobody is there who could keep its files.
    let kept = running(&control, annotated(keeps("on_failure", failing()), KEEP_FOR_ANNOTATION, "1")).await;
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let control = home.open().await;
    let other = create(&control, failing()).await;
    for id in [&kept, &other] {
        wait(&control, id).await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(crate::sweep::forget(control.engine()).await.unwrap(), 1);
    let record = control.get(&ME, &kept).await.unwrap();
    assert_eq!((record.exit_code, record.receipt.is_some()), (Some(3), true));
    assert!(home.world.keeps_log(&record.id));
}

#[tokio::test]
async fn a_session_that_closes_keeps_what_its_policy_spares_and_ends_the_rest() {
    let home = Home::new();
    let control = home.open().await;
    let kept = running(&control, annotated(keeps("always", idle()), KEEP_FOR_ANNOTATION, "600")).await;
    let ended = running(&control, idle()).await;
    // Closed twice, which changes nothing.
    for _ in 0..2 {
        let record = control.stop_as(&ME, &kept, StopOptions::NOW, asked(SESSION)).await.unwrap();
        assert_eq!((record.state, record.paused), (State::Paused, Some(PauseReason::Kept)));
        let Ownership::Kept { why, .. } = &record.ownership else { panic!("{record:?}") };
        assert_eq!(why, "its session was closed (keep = always)");
    }
    control.stop_as(&ME, &ended, StopOptions::NOW, asked(SESSION)).await.unwrap();
    let record = wait(&control, &ended).await;
    assert_eq!(record.reason, Some(TerminationReason::SessionClosed));
    assert_eq!(record.ended_by.as_deref(), Some("uid:1000, process 123 (python3)"));

    let error = exec(&control, &kept, &["true"]).await.unwrap_err();
    assert!(error.to_string().contains("ebb resume"), "{error}");
    let described = control.describe(&ME, &kept).await.unwrap();
    assert_eq!((described.deadlines[0].kind, described.deadlines[0].then), (DeadlineKind::Keep, Then::Stop));
    control.resume(&ME, &kept).await.unwrap();
    exec(&control, &kept, &["true"]).await.unwrap();
    assert!(control.get(&ME, &kept).await.unwrap().ownership.is_kept());
    // An explicit stop always stops.
    control.stop(&ME, &kept, StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &kept).await.reason, Some(TerminationReason::Stopped));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn what_is_kept_ends_when_its_time_is_over_also_under_another_daemon() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, annotated(keeps("always", idle()), KEEP_FOR_ANNOTATION, "1")).await;
    control.stop_as(&ME, &id, StopOptions::NOW, asked(Occasion::Scope)).await.unwrap();
    crash(control).await;
    let control = home.open().await;
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!((record.state, record.paused), (State::Paused, Some(PauseReason::Kept)));
    let ended = wait(&control, &id).await;
    assert_eq!(ended.reason, Some(TerminationReason::KeepExpired));
    assert!(ended.message.contains("keep = always"), "{ended:?}");
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn an_owner_that_is_gone_is_a_failure_and_its_sandbox_is_kept_without_its_secrets() {
    let home = Home::new();
    let control = home.open().await;
    let spec = annotated(keeps("on_failure", main(&["sleep", "60"])), KEEP_AS_ANNOTATION, "running");
    let mut spec = annotated(spec, KEEP_FOR_ANNOTATION, "600");
    spec.main.env.insert("TOKEN".to_owned(), "hunter2-hunter2".to_owned());
    let id = control.create(&ME, spec.clone(), "once").await.unwrap().id.to_string();
    reach(&control, &id, State::Running).await;
    let mut events = control.events(&ME, EventFilter::default());
    let sandbox = orphan(&control, &id, false);
    crate::keep::at_owner_end(control.engine(), &sandbox).await;
    let record = control.get(&ME, &id).await.unwrap();
    let Ownership::Kept { by, why, since, until } = &record.ownership else { panic!("{record:?}") };
    assert_eq!((by.as_ref(), why.as_str()), (Some(&holder()), "its owner is gone (keep = on_failure)"));
    assert_eq!((record.state, record.policy.keep_as), (State::Running, KeepAs::Running));
    assert_eq!(*until, *since + record.policy.keep_for);
    assert_eq!(record.spec.main.env["TOKEN"], "");
    let kinds: Vec<EventKind> = std::iter::from_fn(|| events.try_next())
        .filter_map(|item| match item {
            EventItem::Event(event) => Some(event.kind),
            EventItem::Missed(_) => None,
        })
        .collect();
    assert!(
        kinds.ends_with(&[EventKind::Orphaned(OrphanReason::ProcessEnded), EventKind::Kept]),
        "{kinds:?}"
    );
    // The same create is still the same one.
    assert_eq!(control.create(&ME, spec, "once").await.unwrap().id.to_string(), id);
    control.close().await;
    let stored = crate::ledger::read_only(&home.config.ledger).unwrap();
    assert_eq!(stored[0].spec.main.env["TOKEN"], "");
}

#[tokio::test]
async fn an_orphan_that_is_not_spared_ends_and_one_that_is_used_waits_for_that() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let request = ebbtide_driver::ExecRequest { command: main(&["sleep", "60"]).main, ..Default::default() };
    let used = control.exec(&ME, &id, request).await.unwrap();
    let sandbox = orphan(&control, &id, false);
    let engine = Arc::clone(control.engine());
    let mut ending = tokio::spawn(async move { crate::keep::at_owner_end(&engine, &sandbox).await });
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut ending).await.is_err());
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
    drop(used);
    ending.await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!(ended.reason, Some(TerminationReason::OwnerGone));
    assert_eq!(ended.message, "");
}

#[tokio::test]
async fn who_has_adopted_an_orphan_meanwhile_is_not_overruled() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let sandbox = orphan(&control, &id, false);
    let held = sandbox.changing.lock().await;
    let (engine, waits) = (Arc::clone(control.engine()), Arc::clone(&sandbox));
    let dealing = tokio::spawn(async move { crate::keep::at_owner_end(&engine, &waits).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let adopted = Ownership::Owned { by: holder(), adopted: true, since: None };
    sandbox.change(&control.engine().store, |record| record.ownership = adopted.clone()).unwrap();
    drop(held);
    dealing.await.unwrap();
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!((record.state, record.ownership), (State::Running, adopted));
}

#[tokio::test]
async fn the_deadlines_of_an_orphan_say_whether_it_will_be_kept() {
    let home = Home::new();
    let control = home.open().await;
    for (policy, adopted, then) in
        [("never", false, Then::Stop), ("attached", true, Then::Keep), ("attached", false, Then::Stop)]
    {
        let id = running(&control, keeps(policy, idle())).await;
        orphan(&control, &id, adopted);
        let described = control.describe(&ME, &id).await.unwrap();
        let kinds: Vec<_> =
            described.deadlines.iter().map(|deadline| (deadline.kind, deadline.then)).collect();
        assert_eq!(kinds, [(DeadlineKind::OrphanGrace, then), (DeadlineKind::Lifetime, Then::Stop)]);
        assert!(described.deadlines[0].at <= SystemTime::now());
        control.stop(&ME, &id, StopOptions { grace: Duration::from_secs(60) }).await.unwrap();
        wait(&control, &id).await;
        assert_eq!(control.describe(&ME, &id).await.unwrap().deadlines, []);
    }
}

#[tokio::test]
async fn what_is_kept_as_files_runs_nothing_and_its_files_are_to_be_had() {
    let home = Home::new();
    let control = home.open().await;
    let spec = annotated(keeps("always", main(&["sleep", "60"])), KEEP_AS_ANNOTATION, "files");
    let id = running(&control, spec).await;
    let mut sink =
        control.open_write(&ME, &id, "/tmp/result", ebbtide_driver::WriteOptions::default()).await.unwrap();
    sink.write(b"42").await.unwrap();
    sink.commit().await.unwrap();
    control.pause(&ME, &id).await.unwrap();
    let record = control.stop_as(&ME, &id, StopOptions::NOW, asked(SESSION)).await.unwrap();
    assert_eq!((record.state, record.paused), (State::Running, None));
    assert_eq!(home.world.processes(&record.id), 0);
    let mut file = control.open_read(&ME, &id, "/tmp/result").await.unwrap();
    assert_eq!(file.content.next().await.unwrap().unwrap(), b"42");
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
}
