//! The ledger's form, and how a file is judged before anything in it is touched.
//!
//! `user_version` is the form's number. A file with a higher number was written by a later Ebbtide and is refused:
//! guessing at it could lose a sandbox. A damaged file is refused too, for the same reason.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::LedgerError;

/// The form that this version writes.
pub(super) const VERSION: i64 = 6;

/// Spec and owner never change and are only read whole, so they are JSON; all that changes or is searched for is
/// a column. `ended` is set in the same breath as a terminal state, and is what terminal means in queries.
/// `kill_at` is when the grace period of a stop is over, so that a new daemon goes on with the same one.
const SCHEMA: &str = "
CREATE TABLE sandbox (
    id         TEXT PRIMARY KEY,
    principal  TEXT NOT NULL,
    request_id TEXT NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT,
    message    TEXT NOT NULL,
    exit_code  INTEGER,
    created    INTEGER NOT NULL,
    started    INTEGER,
    ended      INTEGER,
    deadline   INTEGER NOT NULL,
    kill_at    INTEGER,
    boot_id    TEXT NOT NULL,
    owner      TEXT,
    tags       TEXT NOT NULL,
    spec       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX sandbox_request ON sandbox (principal, request_id) WHERE request_id <> '';
CREATE INDEX sandbox_ended ON sandbox (ended);
CREATE INDEX sandbox_page ON sandbox (principal, id) WHERE ended IS NOT NULL;
PRAGMA user_version = 1;
";

/// What leads from each form to the next, the first to form 2.
///
/// 2: what mounted files hold, apart from the record, which is rewritten at each change. It is needed only until the
/// sandbox runs, since a create may have to be gone on with by another daemon.
///
/// 3: the image that a sandbox was made of. Until then there was none but the host's own programs.
///
/// 4: leases; who stands for a sandbox, what is to become of it, whether it is frozen, who ended it and what that released.
/// `retained_from` is set with `ended`: retention counts from there, and for a record that is kept for longer it is later. `owner` is read of
/// sandboxes of an earlier form only. A lease's token is kept as its digest, so that who reads the ledger cannot use it.
///
/// 5: the one row of `clock`: when the machine was started, in the time that the ledger is in and by the wall clock as the
/// last daemon saw it.
///
/// 6: how the main command ended of a sandbox that was kept all the same.
const MIGRATIONS: [&str; 5] = [
    "
CREATE TABLE mounted (
    id      TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;
CREATE TRIGGER mounted_made AFTER UPDATE OF state ON sandbox WHEN new.state NOT IN ('pending', 'creating') BEGIN
    DELETE FROM mounted WHERE id = new.id;
END;
PRAGMA user_version = 2;
",
    r#"
ALTER TABLE sandbox ADD COLUMN made_of TEXT;
UPDATE sandbox SET made_of = '{"digest":null,"command":[]}';
PRAGMA user_version = 3;
"#,
    "
CREATE TABLE lease (
    id        TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    token     BLOB NOT NULL UNIQUE,
    boot_id   TEXT NOT NULL,
    holder    TEXT NOT NULL
) STRICT;
ALTER TABLE sandbox ADD COLUMN ownership TEXT;
ALTER TABLE sandbox ADD COLUMN policy TEXT;
ALTER TABLE sandbox ADD COLUMN ended_by TEXT;
ALTER TABLE sandbox ADD COLUMN receipt TEXT;
ALTER TABLE sandbox ADD COLUMN paused TEXT;
ALTER TABLE sandbox ADD COLUMN retained_from INTEGER;
UPDATE sandbox SET retained_from = ended;
DROP INDEX sandbox_ended;
CREATE INDEX sandbox_retained ON sandbox (retained_from);
PRAGMA user_version = 4;
",
    "
CREATE TABLE clock (
    boot_id TEXT NOT NULL,
    epoch   INTEGER NOT NULL,
    shown   INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 5;
",
    "
ALTER TABLE sandbox ADD COLUMN main_end TEXT;
PRAGMA user_version = 6;
",
];

/// Opens the ledger for writing, and makes it if there is none.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let fail = |step| move |error: rusqlite::Error| LedgerError::of(path, step, &error);
    make_private(path)?;
    let connection = reopen(path)?;
    let version = judge(path, &connection)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216;
             PRAGMA secure_delete = ON;
             PRAGMA wal_autocheckpoint = 16384;",
        )
        .map_err(fail("choose the journal"))?;
    if version < VERSION {
        let first = if version == 0 { SCHEMA } else { "" };
        let done = usize::try_from(version.max(1) - 1).unwrap_or_default();
        let rest = MIGRATIONS.get(done..).unwrap_or_default().concat();
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {first} {rest} COMMIT;"))
            .map_err(fail("make the tables"))?;
    } else {
        // Proves that the file can be written now, rather than at the first create.
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK;").map_err(fail("lock for writing"))?;
    }
    Ok(connection)
}

/// Another connection to a ledger that is open for writing.
pub(super) fn reopen(path: &Path) -> Result<Connection, LedgerError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, LedgerError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let fail = |step| move |error: rusqlite::Error| LedgerError::of(path, step, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(fail("open"))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(fail("set the busy timeout"))?;
    Ok(connection)
}

/// Makes the file if there is none, readable for its owner alone: specs hold environments, and those hold secrets.
/// SQLite gives the files beside it the same mode.
pub(super) fn make_private(path: &Path) -> Result<(), LedgerError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(LedgerError::Full { path: path.to_owned() })
        }
        Err(error) => Err(LedgerError::Open { path: path.to_owned(), detail: error.to_string() }),
    }
}

/// Opens an existing ledger beside whoever writes it.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let fail = |step| move |error: rusqlite::Error| LedgerError::of(path, step, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(fail("open"))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(fail("set the busy timeout"))?;
    match judge(path, &connection)? {
        0 => Err(LedgerError::Corrupt { path: path.to_owned(), detail: "it holds no tables".to_owned() }),
        _ => Ok(connection),
    }
}

/// The form's number, 0 for an empty file; refuses a later form, a damaged file and somebody else's.
fn judge(path: &Path, connection: &Connection) -> Result<i64, LedgerError> {
    let fail = |step| move |error: rusqlite::Error| LedgerError::of(path, step, &error);
    let corrupt = |detail: String| LedgerError::Corrupt { path: path.to_owned(), detail };
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(fail("read the version"))?;
    if version > VERSION {
        return Err(LedgerError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fail("read the tables"))?;
    if version < 0 || (version == 0) != (tables == 0) {
        return Err(corrupt("its tables are not a ledger's".to_owned()));
    }
    let finding: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(fail("check the pages"))?;
    if finding == "ok" { Ok(version) } else { Err(corrupt(finding.replace('\n', " "))) }
}
