//! What is counted agrees with what happens.

use std::collections::BTreeMap;

use ebbtide_driver::fake::FakeDriver;
use ebbtide_model::StopOptions;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{Home, ME, crash, create, exec, idle, main, running, wait};
use crate::{Control, EventFilter, EventItem};

/// Every number that a scrape shows, by its name with labels.
fn scrape(control: &Control) -> BTreeMap<String, f64> {
    let mut registry = Registry::with_prefix("ebbtide");
    control.register_metrics(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_life_is_counted_step_by_step() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    for _ in 0..3 {
        exec(&control, &id, &["true"]).await.unwrap();
    }
    let other = create(&control, main(&["no-such-program"])).await;
    wait(&control, &other).await;
    let now = scrape(&control);
    assert_eq!(now["ebbtide_sandboxes{state=\"running\"}"], 1.0);
    let grace = std::time::Duration::from_secs(1);
    control.stop(&ME, &id, StopOptions { grace }).await.unwrap();
    wait(&control, &id).await;
    let now = scrape(&control);
    for (name, number) in [
        ("ebbtide_creates_total", 2.0),
        ("ebbtide_stops_total{reason=\"stopped\"}", 1.0),
        ("ebbtide_stops_total{reason=\"create_failed\"}", 1.0),
        ("ebbtide_sandboxes{state=\"running\"}", 0.0),
        ("ebbtide_waiting{queue=\"create\"}", 0.0),
        ("ebbtide_waiting{queue=\"destroy\"}", 0.0),
        ("ebbtide_waiting{queue=\"image\"}", 0.0),
        ("ebbtide_step_seconds_count{step=\"prepare\"}", 2.0),
        ("ebbtide_step_seconds_count{step=\"queue\"}", 2.0),
        ("ebbtide_step_seconds_count{step=\"create\"}", 1.0),
        ("ebbtide_step_seconds_count{step=\"first_exec\"}", 1.0),
        ("ebbtide_step_seconds_count{step=\"exec\"}", 2.0),
        ("ebbtide_step_seconds_count{step=\"destroy\"}", 2.0),
        ("ebbtide_leaks_total", 0.0),
    ] {
        assert_eq!(now[name], number, "{name}");
    }
    assert!(now["ebbtide_ledger_commits_total"] >= 6.0);
}

#[tokio::test]
async fn a_sandbox_that_no_ledger_knows_is_counted_as_a_leak() {
    let home = Home::new();
    let control = home.open().await;
    running(&control, idle()).await;
    crash(control).await;
    std::fs::remove_file(&home.config.ledger).unwrap();
    for side in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{side}", home.config.ledger.display()));
    }
    let driver = FakeDriver::on(std::sync::Arc::clone(&home.world));
    let control = Control::open(home.config.clone(), std::sync::Arc::new(driver)).await.unwrap();
    let now = scrape(&control);
    assert_eq!(now["ebbtide_leaks_total"], 1.0);
    assert_eq!(now["ebbtide_reconciled_total{outcome=\"destroyed\"}"], 1.0);
}

#[tokio::test]
async fn what_a_slow_reader_misses_is_counted() {
    let mut home = Home::new();
    home.config.event_buffer = 1;
    let control = home.open().await;
    let mut events = control.events(&ME, EventFilter::default());
    running(&control, idle()).await;
    assert_eq!(events.try_next(), Some(EventItem::Missed(Some(1))));
    assert_eq!(scrape(&control)["ebbtide_events_missed_total"], 1.0);
}
