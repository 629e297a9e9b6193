//! Ledgers that cannot be used, and those that get old.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{State, StopOptions};
use rusqlite::Connection;

use super::*;
use crate::{LedgerError, ledger, sweep};

async fn refused(home: &Home) -> LedgerError {
    match home.try_open().await {
        Err(ControlError::Ledger(error)) => error,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// A ledger with many records, closed.
async fn filled() -> Home {
    let home = Home::new();
    let control = home.open().await;
    for number in 0..200 {
        let spec = SandboxSpec { tags: vec!["x".repeat(200); 10], ..idle() };
        crate::lifecycle::intent(control.engine(), &ME, spec, &number.to_string(), None).unwrap();
    }
    crash(control).await;
    home
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let home = Home::new();
    home.open().await.close().await;
    Connection::open(&home.config.ledger).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let before = std::fs::read(&home.config.ledger).unwrap();
    let error = refused(&home).await;
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("use that version"), "{error}");
    assert!(matches!(ledger::read_only(&home.config.ledger), Err(LedgerError::Newer { .. })));
    assert_eq!(std::fs::read(&home.config.ledger).unwrap(), before);
}

#[tokio::test]
async fn a_ledger_of_the_first_version_is_brought_up_to_date_with_all_that_it_holds() {
    let home = filled().await;
    let ledger = Connection::open(&home.config.ledger).unwrap();
    ledger
        .execute_batch("DROP TRIGGER mounted_made; DROP TABLE mounted; DROP TABLE lease; DROP TABLE clock;")
        .unwrap();
    ledger
        .execute_batch("DROP INDEX sandbox_retained; CREATE INDEX sandbox_ended ON sandbox (ended)")
        .unwrap();
    for column in
        ["made_of", "ownership", "policy", "ended_by", "receipt", "paused", "retained_from", "main_end"]
    {
        ledger.execute_batch(&format!("ALTER TABLE sandbox DROP COLUMN {column}")).unwrap();
    }
    ledger
        .execute_batch(r#"UPDATE sandbox SET owner = '{"pid":7,"start_time":9}'; PRAGMA user_version = 1"#)
        .unwrap();
    drop(ledger);
    let before = ledger::read_only(&home.config.ledger).unwrap();
    let control = home.open().await;
    let mounted_files = vec![ebbtide_model::MountedFile::new("/etc/x", *b"x")];
    let spec = SandboxSpec { mounted_files, ..idle() };
    let id = control.create(&ME, spec, "").await.unwrap().id;
    assert!(control.open_read(&ME, id.as_str(), "/etc/x").await.is_ok());
    assert_eq!(before.len(), 200);
    for record in before {
        let owner = control.get(&ME, record.id.as_str()).await.unwrap().ownership;
        assert_eq!(owner.holder().and_then(|holder| holder.process).unwrap().pid, 7);
    }
}

#[tokio::test]
async fn a_damaged_page_is_found_at_the_start() {
    let home = filled().await;
    let file = std::fs::OpenOptions::new().write(true).open(&home.config.ledger).unwrap();
    assert!(file.metadata().unwrap().len() > 20 * 4096);
    for page in 3..15 {
        file.write_all_at(&[0xA5; 4096], page * 4096).unwrap();
    }
    let error = refused(&home).await;
    assert!(matches!(error, LedgerError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("ebb doctor --fix"), "{error}");
    assert!(matches!(ledger::read_only(&home.config.ledger), Err(LedgerError::Corrupt { .. })));
}

#[tokio::test]
async fn a_page_that_is_damaged_later_is_a_typed_error() {
    let home = filled().await;
    let control = home.open().await;
    control
        .purge(&ME, crate::PurgeFilter { tags: vec![], all: true }, false, &crate::Asked::default())
        .await
        .unwrap();
    // Into the file, so that what is damaged is what is read next.
    let checkpoint = Connection::open(&home.config.ledger).unwrap();
    checkpoint.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&home.config.ledger).unwrap();
    for page in 1..file.metadata().unwrap().len() / 4096 {
        file.write_all_at(&[0xA5; 4096], page * 4096).unwrap();
    }
    // Makes the daemon's own cache stale, as the growth of a real ledger does.
    let error = loop {
        let other = Connection::open(&home.config.ledger).unwrap();
        let _ = other.execute_batch("PRAGMA user_version = 1");
        let filter = crate::ListFilter { show_terminated: true, ..crate::ListFilter::default() };
        if let Err(error) = control.list(&ME, filter).await {
            break error;
        }
    };
    assert!(matches!(error, ControlError::Ledger(LedgerError::Corrupt { .. })), "{error}");
}

#[tokio::test]
async fn what_is_no_ledger_is_refused() {
    let home = Home::new();
    std::fs::write(&home.config.ledger, "not a database, but long enough to be looked at".repeat(100))
        .unwrap();
    assert!(matches!(refused(&home).await, LedgerError::Corrupt { .. }));
    std::fs::remove_file(&home.config.ledger).unwrap();
    Connection::open(&home.config.ledger).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(refused(&home).await, LedgerError::Corrupt { .. }));
    let home =
        Home { config: ControlConfig { ledger: "/nonexistent/ledger.db".into(), ..home.config }, ..home };
    assert!(matches!(refused(&home).await, LedgerError::Open { .. }));
}

#[tokio::test]
async fn a_locked_and_a_full_ledger_are_typed_errors_and_nothing_is_half_made() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.engine().store.limit_pages();
    let big = SandboxSpec { tags: vec!["x".repeat(200); 60], ..idle() };
    let error = loop {
        if let Err(error) = control.create(&ME, big.clone(), "").await {
            break error;
        }
    };
    assert!(matches!(error, ControlError::Ledger(LedgerError::Full { .. })), "{error}");
    assert_eq!(error.reason(), ebbtide_model::ErrorReason::CapacityExhausted);
    let live = *control.live().borrow();
    assert_eq!(crate::ledger::read_only(&home.config.ledger).unwrap().len(), live);
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_reader_sees_the_ledger_beside_the_daemon() {
    let home = Home::new();
    assert_eq!(ledger::read_only(&home.config.ledger).unwrap(), []);
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    let ended = wait(&control, &id).await;
    let made_of = None;
    let ended = SandboxRecord { made_of, ended_by: None, receipt: None, ..ended };
    assert_eq!(ledger::read_only(&home.config.ledger).unwrap(), [ended]);
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_with_its_log() {
    let mut home = Home::new();
    home.config.limits.retention = Duration::from_millis(150);
    let control = home.open().await;
    let writes = || main(&["sh", "-c", "echo hello; sleep 300"]);
    let old = control.create(&ME, writes(), "once").await.unwrap().id;
    reach(&control, old.as_str(), State::Running).await;
    control.stop(&ME, old.as_str(), StopOptions::NOW).await.unwrap();
    wait(&control, old.as_str()).await;
    let alive = running(&control, writes()).await;
    assert_eq!(sweep::forget(control.engine()).await.unwrap(), 0);
    control.get(&ME, old.as_str()).await.unwrap();
    assert!(home.world.keeps_log(&old));

    tokio::time::sleep(Duration::from_millis(200)).await;
    let young = running(&control, idle()).await;
    control.stop(&ME, &young, StopOptions::NOW).await.unwrap();
    wait(&control, &young).await;
    assert_eq!(sweep::forget(control.engine()).await.unwrap(), 1);
    assert!(matches!(control.get(&ME, old.as_str()).await, Err(ControlError::NotFound { .. })));
    assert!(!home.world.keeps_log(&old));
    assert!(home.world.keeps_log(&alive.parse().unwrap()));
    for kept in [alive, young] {
        control.get(&ME, &kept).await.unwrap();
    }
    // The request id is free again.
    assert_ne!(control.create(&ME, idle(), "once").await.unwrap().id, old);
}

#[tokio::test]
async fn a_log_that_cannot_be_removed_keeps_its_record() {
    let mut home = Home::new();
    home.config.limits.retention = Duration::ZERO;
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    home.world.fail_next(Call::Forget, DriverError::Unavailable("not now".to_owned()));
    assert_eq!(sweep::forget(control.engine()).await.unwrap(), 0);
    control.get(&ME, &id).await.unwrap();
    assert_eq!(sweep::forget(control.engine()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_ledger_is_nobody_elses_to_read() {
    let home = Home::new();
    home.open().await.close().await;
    let mode = std::fs::metadata(&home.config.ledger).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test]
async fn the_log_is_moved_into_the_ledger_in_the_background() {
    let home = filled().await;
    let size = || std::fs::metadata(&home.config.ledger).unwrap().len();
    let control = home.open().await;
    let before = size();
    for number in 0..300 {
        let spec = SandboxSpec { tags: vec!["x".repeat(200); 10], ..idle() };
        crate::lifecycle::intent(control.engine(), &SOMEBODY_ELSE, spec, &number.to_string(), None).unwrap();
    }
    let moved = async {
        while size() <= before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), moved).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_is_handed_on_to_the_disk_a_moment_later_with_nobody_asking() {
    let home = Home::new();
    let control = home.open().await;
    for _ in 0..3 {
        running(&control, idle()).await;
        let handed_on = async {
            while !control.engine().store.is_durable() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), handed_on).await.unwrap();
    }
    control.close().await;
}

#[tokio::test]
async fn a_ledger_whose_files_are_deleted_moved_or_replaced_is_put_back_whole() {
    let home = Home::new();
    let control = home.open().await;
    let over = running(&control, idle()).await;
    control.stop(&ME, &over, StopOptions::NOW).await.unwrap();
    wait(&control, &over).await;
    let path = &home.config.ledger;
    let [log, elsewhere] = [path.with_extension("db-wal"), path.with_extension("elsewhere")];
    let mut live = Vec::new();
    let faults: [&dyn Fn(); 5] = [
        &|| std::fs::remove_file(path).unwrap(),
        &|| std::fs::rename(path, &elsewhere).unwrap(),
        &|| std::fs::copy(path, &elsewhere).and_then(|_| std::fs::rename(&elsewhere, path)).unwrap(),
        &|| std::fs::remove_file(&log).unwrap(),
        &|| [path, &log].iter().for_each(|file| std::fs::remove_file(file).unwrap()),
    ];
    for fault in faults {
        live.push(running(&control, idle()).await);
        assert!(!control.keep_ledger_in_place().await.unwrap());
        fault();
        live.push(running(&control, idle()).await);
        assert!(control.keep_ledger_in_place().await.unwrap());
        assert!(!control.keep_ledger_in_place().await.unwrap());
        live.push(running(&control, idle()).await);
    }
    crash(control).await;
    let control = home.open().await;
    for id in &live {
        assert_eq!(control.get(&ME, id).await.unwrap().state, State::Running);
    }
    assert_eq!(control.get(&ME, &over).await.unwrap().state, State::Completed);
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test]
async fn of_a_damaged_ledger_all_that_can_be_read_is_kept() {
    let home = filled().await;
    let path = &home.config.ledger;
    let all = ledger::read_only(path).unwrap();
    assert!(!ledger::is_damaged(path).unwrap());
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for page in [20, 40] {
        file.write_all_at(&[0xA5; 4096], page * 4096).unwrap();
    }
    assert!(ledger::is_damaged(path).unwrap());
    let repaired = ledger::repair(path).unwrap();
    assert!(!ledger::is_damaged(path).unwrap());
    assert!(repaired.aside.exists());
    let kept = ledger::read_only(path).unwrap();
    assert_eq!(kept.len(), repaired.records);
    assert!(kept.len() >= all.len() - 10 && kept.len() < all.len(), "{} of {}", kept.len(), all.len());
    assert!(kept.iter().all(|record| all.contains(record)));
    drop(home.open().await);

    std::fs::write(path, "nothing of a ledger").unwrap();
    assert_eq!(ledger::repair(path).unwrap().records, 0);
    drop(home.open().await);
}
