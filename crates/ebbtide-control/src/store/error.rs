//! What can be wrong with a ledger, each with what to do about it. SQLite's own types end here.

use std::path::{Path, PathBuf};

use ebbtide_model::SandboxId;
use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the ledger could not be read or written.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It was written by a later version.
    #[error(
        "ledger {path}: written by a newer version of Ebbtide (format {found}, this one knows {known}); \
         use that version, or a new home (EBBTIDE_HOME)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// It is damaged, or no ledger at all.
    #[error(
        "ledger {path}: damaged ({detail}); `ebb doctor --fix` sets it aside and makes a new one of all that can be read of \
         it, and the next daemon ends the sandboxes that are not in there; until then they live, and end by themselves"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It cannot be written.
    #[error("ledger {path}: cannot be written ({detail}); check its owner, its mode and the mount")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// Another process holds it.
    #[error("ledger {path}: locked by another process; end whatever else has it open")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("ledger {path}: no space left on its disk; make room and try again")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("ledger {path}: cannot be opened ({detail}); check that its directory exists and is yours")]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// A record that must be there is not.
    #[error("ledger {path}: the record of sandbox {id} is missing or has ended already")]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// The sandbox.
        id: SandboxId,
    },
    /// Anything else.
    #[error("ledger {path}: {step}: {detail}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// SQLite's words.
        detail: String,
    },
}

impl LedgerError {
    /// What SQLite's `error` during `step` means.
    pub(super) fn of(path: &Path, step: &'static str, error: &rusqlite::Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string().replace('\n', " "));
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, detail },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, detail },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::CannotOpen) => Self::Open { path, detail },
            Some(_) => Self::Failed { path, step, detail },
            // Not SQLite's own: a column of another type or text that does not parse, which nothing of ours writes.
            None => Self::Corrupt { path, detail: format!("{step}: {detail}") },
        }
    }
}
