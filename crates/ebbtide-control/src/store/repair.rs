//! A new ledger from what can be read of a damaged one.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::codec::{COLUMNS, LATER, record};
use super::{LedgerError, place, schema};

/// How many records a page holds at most, for a table of which not even that can be read how long it is.
const PER_PAGE: i64 = 64;
/// No ledger has more; bounds the search in one that says nonsense.
const MOST: i64 = 2_000_000;

/// What came of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Where the damaged ledger is now.
    pub aside: PathBuf,
    /// How many records of sandboxes could be read.
    pub records: usize,
}

/// Puts a new ledger in the place of a damaged one.
pub(crate) fn repair(path: &Path) -> Result<Repaired, LedgerError> {
    let fail = |step| move |error: rusqlite::Error| LedgerError::of(path, step, &error);
    let draft = place::draft(path)?;
    let new = schema::open(&draft)?;
    new.execute_batch("BEGIN").map_err(fail("begin to copy"))?;
    // Where not even that works, nothing of it can be read.
    if let Ok(old) = schema::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        for table in tables(&new).map_err(fail("list its tables"))? {
            // A row that cannot be read is one that is lost, and the reason for all of this.
            let _ = copy(&old, &new, &table);
        }
    }
    drop_senseless(&new).map_err(fail("check what could be read"))?;
    new.execute_batch("COMMIT").map_err(fail("copy what could be read"))?;
    let records: i64 = new
        .query_row("SELECT count(*) FROM sandbox", [], |row| row.get(0))
        .map_err(fail("count what could be read"))?;
    new.close().map_err(|(_, error)| fail("close the new ledger")(error))?;
    let moved = place::set_aside(path, "damaged").and_then(|aside| {
        std::fs::rename(&draft, path)?;
        Ok(aside)
    });
    let aside = moved.map_err(|error| place::refused(path, &error))?;
    Ok(Repaired { aside, records: usize::try_from(records).unwrap_or_default() })
}

fn tables(new: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    new.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Copies a table row by row, so that one that cannot be read costs no other.
fn copy(old: &Connection, new: &Connection, table: &str) -> Result<(), rusqlite::Error> {
    let number = |sql: &str| old.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let last = match number(&format!("SELECT max(rowid) FROM {table}")) {
        Ok(last) => last.unwrap_or_default(),
        Err(_) => number("PRAGMA page_count")?.unwrap_or_default().saturating_mul(PER_PAGE),
    };
    let columns: Vec<String> = new
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let (names, places) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
    let mut read = old.prepare(&format!("SELECT {names} FROM {table} WHERE rowid = ?1"))?;
    let mut write = new.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"))?;
    for rowid in 1..=last.min(MOST) {
        let values = read.query_row([rowid], |row| {
            (0..columns.len()).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()
        });
        if let Ok(values) = values {
            // Refused where a column holds what it cannot hold.
            let _ = write.execute(params_from_iter(values));
        }
    }
    Ok(())
}

/// Removes what could be copied and makes no sense.
fn drop_senseless(new: &Connection) -> Result<(), rusqlite::Error> {
    let mut read = new.prepare(&format!("SELECT {COLUMNS}, {LATER}, rowid AS number FROM sandbox"))?;
    let mut rows = read.query([])?;
    let mut senseless = Vec::new();
    while let Some(row) = rows.next()? {
        if record(row).is_err() {
            senseless.push(row.get::<_, i64>("number")?);
        }
    }
    for rowid in senseless {
        new.execute("DELETE FROM sandbox WHERE rowid = ?1", [rowid])?;
    }
    Ok(())
}
