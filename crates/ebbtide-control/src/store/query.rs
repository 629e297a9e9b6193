//! What is read from the ledger.

use std::path::Path;
use std::time::SystemTime;

use ebbtide_model::{Principal, SandboxId, SandboxRecord, State};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::codec::{COLUMNS, LATER, NOT_LATER, Stored, json, millis, record, restore_files};
use super::{LedgerError, schema};

type Answer<T> = Result<T, rusqlite::Error>;

/// Which terminal records a page holds.
pub(crate) struct Cursor<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) tags: &'a [String],
    pub(crate) state: Option<State>,
    pub(crate) ownership: Option<&'static str>,
    /// The last id of the page before.
    pub(crate) after: Option<&'a SandboxId>,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
}

pub(super) fn get(connection: &Connection, id: &SandboxId) -> Answer<Option<Stored>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS}, {LATER} FROM sandbox WHERE id = ?1"))?
        .query_row([id.as_str()], record)
        .optional()
}

pub(super) fn by_request_id(
    connection: &Connection,
    principal: &Principal,
    request_id: &str,
) -> Answer<Option<Stored>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, {LATER} FROM sandbox WHERE principal = ?1 AND request_id = ?2 AND request_id <> ''"
        ))?
        .query_row((principal.to_string(), request_id), record)
        .optional()
}

pub(super) fn newest(connection: &Connection) -> Answer<Option<SandboxId>> {
    let newest: Option<String> = connection.query_row("SELECT max(id) FROM sandbox", [], |row| row.get(0))?;
    Ok(newest.and_then(|id| id.parse().ok()))
}

pub(super) fn live(connection: &Connection) -> Answer<Vec<Stored>> {
    let mut live: Vec<Stored> = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, {LATER} FROM sandbox WHERE retained_from IS NULL ORDER BY id"
        ))?
        .query_map([], record)?
        .collect::<Result<_, _>>()?;
    live.iter_mut().try_for_each(|stored| restore_files(connection, &mut stored.record))?;
    Ok(live)
}

pub(super) fn page(connection: &Connection, cursor: &Cursor<'_>) -> Answer<Vec<SandboxRecord>> {
    let (beyond, order) = if cursor.descending { ("<", "DESC") } else { (">", "ASC") };
    let sql = format!(
        "SELECT {COLUMNS}, {LATER} FROM sandbox
         WHERE ended IS NOT NULL AND principal = :principal
             AND (:after IS NULL OR id {beyond} :after)
             AND (:state IS NULL OR state = :state)
             AND (:ownership IS NULL OR ownership ->> 'kind' = :ownership)
             AND NOT EXISTS (
                 SELECT 1 FROM json_each(:tags) AS wanted
                 WHERE wanted.value NOT IN (SELECT value FROM json_each(sandbox.tags)))
         ORDER BY id {order} LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let parameters = named_params! {
        ":principal": cursor.principal.to_string(),
        ":after": cursor.after.map(SandboxId::as_str),
        ":state": cursor.state.map(State::as_str),
        ":ownership": cursor.ownership,
        ":tags": json(&cursor.tags)?,
        ":limit": i64::try_from(cursor.limit).unwrap_or(i64::MAX),
    };
    statement.query_map(parameters, |row| record(row).map(|entry| entry.record))?.collect()
}

pub(super) fn expired(connection: &Connection, before: SystemTime, limit: usize) -> Answer<Vec<SandboxId>> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM sandbox WHERE retained_from < ?1 ORDER BY retained_from LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // An id that does not parse cannot be ours: skipping it leaves it where it is.
    let ids = statement.query_map((millis(before), limit), |row| row.get::<_, String>(0))?;
    ids.filter_map(|id| id.map(|id| id.parse().ok()).transpose()).collect()
}

/// Every record of the ledger at `path`, oldest first, without what earlier forms do not have; works beside the daemon
/// that writes it, which may be an earlier one.
pub(crate) fn read_all(path: &Path) -> Result<Vec<SandboxRecord>, LedgerError> {
    let connection = schema::open_read_only(path)?;
    let read = || -> Answer<Vec<SandboxRecord>> {
        connection
            .prepare(&format!("SELECT {COLUMNS}, {NOT_LATER} FROM sandbox ORDER BY id"))?
            .query_map([], |row| record(row).map(|entry| entry.record))?
            .collect()
    };
    read().map_err(|error| LedgerError::of(path, "read all records", &error))
}
