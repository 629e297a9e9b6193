//! A hundred thousand ended records: what is asked all the time does not read them all.
//!
//! Counted are the steps of SQLite's machine, some ten for each row that a query reads: a bound that no slow machine
//! breaks.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ebbtide_model::State;
use rusqlite::Connection;

use super::*;
use crate::store::{Cursor, Store};

const RECORDS: usize = 100_000;
/// A row that is read costs less than this.
const STEPS_FOR_A_ROW: u64 = 200;

/// A ledger with many records that have ended, one a second, up to now.
async fn aged() -> Home {
    let home = Home::new();
    let control = home.open().await;
    let spec = SandboxSpec { tags: vec!["mine".to_owned()], ..idle() };
    let id = create(&control, spec).await;
    control.stop(&ME, &id, ebbtide_model::StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
    control.close().await;
    let ledger = Connection::open(&home.config.ledger).unwrap();
    let columns: Vec<String> = ledger
        .prepare("SELECT name FROM pragma_table_info('sandbox') WHERE name NOT IN ('id', 'ended', 'retained_from')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let columns = columns.join(", ");
    let alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    let sql = format!(
        "BEGIN;
         WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {RECORDS})
         INSERT INTO sandbox (id, ended, retained_from, {columns})
         SELECT substr(id, 1, 21) || iif(substr(id, 22, 1) = '0', '1', '0') || substr('{alphabet}', 1 + n / 32768 % 32, 1) || substr('{alphabet}', 1 + n / 1024 % 32, 1)
                || substr('{alphabet}', 1 + n / 32 % 32, 1) || substr('{alphabet}', 1 + n % 32, 1),
                ended - ({RECORDS} - n) * 1000, ended - ({RECORDS} - n) * 1000, {columns}
         FROM sandbox, number;
         COMMIT;"
    );
    ledger.execute_batch(&sql).unwrap();
    home
}

#[tokio::test]
async fn a_hundred_thousand_ended_records_cost_a_start_a_page_and_a_sweep_no_more_than_they_show() {
    let home = aged().await;
    let store = Store::open(&home.config.ledger).unwrap();
    let steps = store.count_steps();
    let cost = |what: &str, rows: u64, ask: &dyn Fn() -> usize| {
        steps.store(0, Ordering::Relaxed);
        let found = ask() as u64;
        let steps = steps.load(Ordering::Relaxed);
        assert!(found <= rows, "{what}: {found}");
        assert!(steps <= STEPS_FOR_A_ROW * (rows + 1), "{what}: {steps} steps for {rows} rows");
        found
    };
    assert_eq!(cost("start", 0, &|| store.live().unwrap().len()), 0);
    let cursor = Cursor {
        principal: &ME,
        tags: &[],
        state: None,
        ownership: None,
        after: None,
        descending: true,
        limit: 100,
    };
    assert_eq!(cost("page", 100, &|| store.page(&cursor).unwrap().len()), 100);
    let last = store.page(&cursor).unwrap().pop().unwrap().id;
    let next = Cursor { after: Some(&last), ..cursor };
    assert_eq!(cost("next page", 100, &|| store.page(&next).unwrap().len()), 100);
    let tags = ["mine".to_owned()];
    let tagged = Cursor { tags: &tags, state: Some(State::Completed), ..cursor };
    assert_eq!(cost("page of a tag", 100, &|| store.page(&tagged).unwrap().len()), 100);
    let of_another = Cursor { principal: &SOMEBODY_ELSE, ..cursor };
    assert_eq!(cost("page of another", 0, &|| store.page(&of_another).unwrap().len()), 0);
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(cost("sweep", 500, &|| store.expired(hour_ago, 500).unwrap().len()), 500);
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
    assert_eq!(cost("sweep of nothing", 0, &|| store.expired(long_ago, 500).unwrap().len()), 0);
    assert_eq!(cost("get", 1, &|| usize::from(store.get(&last).unwrap().is_some())), 1);
}
