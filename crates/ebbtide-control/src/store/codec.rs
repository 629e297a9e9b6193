//! A record as a row, both ways.
//!
//! Times are whole milliseconds since the Unix epoch, in [ledger time](crate::time).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_model::{
    Holder, Limits, OwnerProcess, Ownership, PauseReason, Policy, SandboxRecord, State, TerminationReason,
};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{OptionalExtension as _, Row, named_params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The columns in the order that [`record`] reads them; after them it reads the [`LATER`] ones.
pub(super) const COLUMNS: &str = "id, principal, request_id, state, reason, message, exit_code, created, started, \
                                  ended, deadline, kill_at, boot_id, owner, spec";

/// The columns that the ledger of an earlier version does not have.
pub(super) const LATER: &str = "made_of, ownership, policy, ended_by, receipt, paused, main_end";
/// What stands for [`LATER`] where they are not there.
pub(super) const NOT_LATER: &str = "NULL, NULL, NULL, NULL, NULL, NULL, NULL";

pub(super) const INSERT: &str = "
INSERT INTO sandbox (id, principal, request_id, state, reason, message, exit_code, created, started, ended, deadline,
    kill_at, boot_id, ownership, policy, tags, spec)
VALUES (:id, :principal, :request_id, :state, :reason, :message, :exit_code, :created, :started, :ended, :deadline,
    NULL, :boot_id, :ownership, :policy, :tags, :spec)
ON CONFLICT DO NOTHING";

/// A record with what only the engine needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) record: SandboxRecord,
    pub(crate) kill_at: Option<SystemTime>,
}

pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Inserts `record` with what its mounted files hold; tells whether it was inserted.
pub(super) fn insert(
    connection: &rusqlite::Connection,
    record: &SandboxRecord,
) -> Result<bool, rusqlite::Error> {
    let files = &record.spec.mounted_files;
    if files.is_empty() {
        return insert_row(connection, record);
    }
    // One after the other; the spec tells where each ends.
    let content: Vec<u8> = files.iter().flat_map(|file| file.content().iter().copied()).collect();
    let transaction = connection.unchecked_transaction()?;
    let inserted = insert_row(&transaction, record)?;
    if inserted {
        transaction
            .prepare_cached("INSERT INTO mounted (id, content) VALUES (?1, ?2)")?
            .execute((record.id.as_str(), content))?;
    }
    transaction.commit()?;
    Ok(inserted)
}

/// Gives the mounted files of a record what they hold, as far as the ledger still has it.
pub(super) fn restore_files(
    connection: &rusqlite::Connection,
    record: &mut SandboxRecord,
) -> Result<(), rusqlite::Error> {
    if record.spec.mounted_files.is_empty() {
        return Ok(());
    }
    let content: Option<Vec<u8>> = connection
        .prepare_cached("SELECT content FROM mounted WHERE id = ?1")?
        .query_row([record.id.as_str()], |row| row.get(0))
        .optional()?;
    let Some(content) = content else { return Ok(()) };
    let mut rest = content.as_slice();
    for file in &mut record.spec.mounted_files {
        let (this, more) = rest.split_at_checked(file.size()).ok_or(rusqlite::Error::InvalidQuery)?;
        *file = file.clone().with_content(this).ok_or(rusqlite::Error::InvalidQuery)?;
        rest = more;
    }
    Ok(())
}

fn insert_row(connection: &rusqlite::Connection, record: &SandboxRecord) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare_cached(INSERT)?;
    let rows = statement.execute(named_params! {
        ":id": record.id.as_str(),
        ":principal": record.principal.to_string(),
        ":request_id": record.request_id,
        ":state": record.state.as_str(),
        ":reason": record.reason.map(TerminationReason::as_str),
        ":message": record.message,
        ":exit_code": record.exit_code,
        ":created": millis(record.created_at),
        ":started": record.started_at.map(millis),
        ":ended": record.ended_at.map(millis),
        ":deadline": millis(record.deadline),
        ":boot_id": record.boot_id,
        ":ownership": json(&record.ownership)?,
        ":policy": json(&record.policy)?,
        ":tags": json(&record.spec.tags)?,
        ":spec": json(&record.spec)?,
    })?;
    Ok(rows == 1)
}

/// Reads the [`COLUMNS`] of a row, and the [`LATER`] ones.
pub(super) fn record(row: &Row<'_>) -> Result<Stored, rusqlite::Error> {
    let state = named(row, 3, State::ALL, State::as_str)?;
    let reason = optional(row, 4, TerminationReason::ALL, TerminationReason::as_str)?;
    let created_at = from_millis(row.get(7)?);
    let ownership = match json_in(row, 16)? {
        Some(ownership) => ownership,
        None => json_in::<OwnerProcess>(row, 13)?
            .map_or(Ownership::Unowned, |process| Ownership::made_by(Holder::process(process), created_at)),
    };
    let record = SandboxRecord {
        id: parsed(row, 0)?,
        principal: parsed(row, 1)?,
        request_id: row.get(2)?,
        state,
        paused: optional(row, 20, PauseReason::ALL, PauseReason::as_str)?,
        reason,
        message: row.get(5)?,
        exit_code: row.get(6)?,
        main_end: json_in(row, 21)?,
        created_at,
        started_at: row.get::<_, Option<i64>>(8)?.map(from_millis),
        ended_at: row.get::<_, Option<i64>>(9)?.map(from_millis),
        deadline: from_millis(row.get(10)?),
        boot_id: row.get(12)?,
        ownership,
        policy: json_in(row, 17)?.unwrap_or_else(|| Policy::of_limits(&Limits::default())),
        spec: unjson(14, row.get_ref(14)?.as_str()?)?,
        made_of: json_in(row, 15)?,
        ended_by: row.get(18)?,
        receipt: json_in(row, 19)?,
    };
    Ok(Stored { record, kill_at: row.get::<_, Option<i64>>(11)?.map(from_millis) })
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn json_in<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, rusqlite::Error> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| unjson(column, &text)).transpose()
}

pub(super) fn unjson<T: DeserializeOwned>(column: usize, text: &str) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text).map_err(|error| bad(column, error))
}

pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| bad(column, error))
}

fn named<T: Copy, const N: usize>(
    row: &Row<'_>,
    column: usize,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    all.into_iter().find(|value| name(*value) == text).ok_or_else(|| bad(column, FromSqlError::InvalidType))
}

fn optional<T: Copy, const N: usize>(
    row: &Row<'_>,
    column: usize,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<Option<T>, rusqlite::Error> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => named(row, column, all, name).map(Some),
    }
}

pub(super) fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
