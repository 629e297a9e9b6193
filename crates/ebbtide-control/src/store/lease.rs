//! Leases as rows: so that their owners are known to the next daemon too.

use ebbtide_model::{Holder, LeaseId, Principal};
use rusqlite::{Connection, Row, named_params};

use super::codec::{bad, json, parsed, unjson};
use super::{LedgerError, Store};
use crate::lease::TokenDigest;

/// A lease as the ledger has it.
#[derive(Debug, Clone)]
pub(crate) struct LeaseRow {
    pub(crate) id: LeaseId,
    pub(crate) principal: Principal,
    pub(crate) token: TokenDigest,
    /// The boot of the machine that it was opened in: no process outlives that.
    pub(crate) boot_id: String,
    pub(crate) holder: Holder,
}

impl Store {
    /// Records a lease before anybody is told of it.
    pub(crate) fn record_lease(&self, lease: &LeaseRow) -> Result<(), LedgerError> {
        self.has_room()?;
        self.change("record a lease", |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO lease (id, principal, token, boot_id, holder)
                     VALUES (:id, :principal, :token, :boot_id, :holder)",
                )?
                .execute(named_params! {
                    ":id": lease.id.as_str(),
                    ":principal": lease.principal.to_string(),
                    ":token": lease.token.bytes().as_slice(),
                    ":boot_id": lease.boot_id,
                    ":holder": json(&lease.holder)?,
                })
                .map(drop)
        })
    }

    /// Forgets leases that are over.
    pub(crate) fn forget_leases(&self, ids: &[LeaseId]) -> Result<(), LedgerError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.change("forget leases", |connection| {
            let transaction = connection.unchecked_transaction()?;
            for id in ids {
                transaction.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([id.as_str()])?;
            }
            transaction.commit()
        })
    }

    /// Every lease.
    pub(crate) fn leases(&self) -> Result<Vec<LeaseRow>, LedgerError> {
        let read = |connection: &Connection| {
            connection
                .prepare_cached("SELECT id, principal, token, boot_id, holder FROM lease")?
                .query_map([], row)?
                .collect::<Result<Vec<_>, _>>()
        };
        read(&self.connection()).map_err(self.fail("read the leases"))
    }

    /// Whether the ledger knows a lease.
    #[cfg(test)]
    pub(crate) fn has_lease(&self, id: &LeaseId) -> bool {
        self.leases().unwrap().iter().any(|lease| lease.id == *id)
    }
}

fn row(row: &Row<'_>) -> Result<LeaseRow, rusqlite::Error> {
    let token: Vec<u8> = row.get(2)?;
    let token = token.try_into().map_err(|_| bad(2, rusqlite::types::FromSqlError::InvalidType))?;
    Ok(LeaseRow {
        id: parsed(row, 0)?,
        principal: parsed(row, 1)?,
        token: TokenDigest::from_bytes(token),
        boot_id: row.get(3)?,
        holder: unjson(4, row.get_ref(4)?.as_str()?)?,
    })
}
