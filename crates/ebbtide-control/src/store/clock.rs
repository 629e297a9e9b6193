//! The boot whose ledger time the ledger is in, so that a daemon goes on with the time of the one before it.

use std::time::SystemTime;

use ebbtide_model::{MainEnd, Ownership};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{from_millis, json, millis, unjson};
use super::{LedgerError, Store};
use crate::time::{SMALLEST, moved};

/// Every column of a sandbox that holds a time; one that is not set stays so.
const MOVE: &str = "
UPDATE sandbox SET created = created + :by, started = started + :by, ended = ended + :by, deadline = deadline + :by,
    kill_at = kill_at + :by, retained_from = retained_from + :by
WHERE boot_id = :boot_id";

impl Store {
    /// When the machine was started, in ledger time. `measured` is that by the wall clock as it is set now. Where that was
    /// set since the daemon before, all times of the boot are moved along once, while nobody works with them.
    pub(crate) fn epoch(&self, boot_id: &str, measured: SystemTime) -> Result<SystemTime, LedgerError> {
        let settle = |connection: &Connection| {
            // For writing from the start: SQLite does not wait where a reader that becomes a writer comes too late.
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let before: Option<(String, i64, i64)> = transaction
                .query_row("SELECT boot_id, epoch, shown FROM clock", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            let measured = millis(measured);
            let mut epoch = measured;
            if let Some((before, old, shown)) = before {
                // Of an earlier boot nothing is known but what its last daemon saw.
                let by = if before == boot_id { measured - old } else { shown - old };
                if by.abs() >= SMALLEST {
                    move_times(&transaction, &before, by)?;
                } else if before == boot_id {
                    epoch = old;
                }
            }
            transaction.execute("DELETE FROM clock", [])?;
            transaction
                .execute("INSERT INTO clock (boot_id, epoch, shown) VALUES (?1, ?2, ?2)", (boot_id, epoch))?;
            transaction.commit()?;
            Ok(epoch)
        };
        let epoch = settle(&self.connection()).map_err(self.fail("read the clock"))?;
        self.committed();
        Ok(from_millis(epoch))
    }

    /// Records that the wall clock was set; `shown` is when the machine was started by it.
    pub(crate) fn wall_clock_set(&self, shown: SystemTime) -> Result<(), LedgerError> {
        self.change("record that the clock was set", |connection| {
            connection.execute("UPDATE clock SET shown = ?1", [millis(shown)]).map(drop)
        })
    }
}

/// Moves every time of the sandboxes of a boot by so many milliseconds.
fn move_times(transaction: &Transaction<'_>, boot_id: &str, by: i64) -> Result<(), rusqlite::Error> {
    transaction.execute(MOVE, rusqlite::named_params! { ":boot_id": boot_id, ":by": by })?;
    let at = |at| moved(at, by);
    rewrite(transaction, boot_id, "ownership", "$.since", |ownership: Ownership| ownership.with_times(at))?;
    rewrite(transaction, boot_id, "main_end", "$.at", |end: MainEnd| MainEnd { at: at(end.at), ..end })
}

/// Changes what a column holds as JSON, of all sandboxes of a boot that have a time there.
fn rewrite<T: Serialize + DeserializeOwned>(
    transaction: &Transaction<'_>,
    boot_id: &str,
    column: &str,
    time: &str,
    change: impl Fn(T) -> T,
) -> Result<(), rusqlite::Error> {
    let held: Vec<(String, String)> = transaction
        .prepare(&format!(
            "SELECT id, {column} FROM sandbox WHERE boot_id = ?1 AND {column} ->> ?2 IS NOT NULL"
        ))?
        .query_map([boot_id, time], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut write = transaction.prepare(&format!("UPDATE sandbox SET {column} = ?2 WHERE id = ?1"))?;
    for (id, text) in held {
        write.execute((id, json(&change(unjson(1, &text)?))?))?;
    }
    Ok(())
}
