//! The ledger.

mod error;

pub use error::LedgerError;
