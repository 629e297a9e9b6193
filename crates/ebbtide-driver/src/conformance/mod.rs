//! The checks that every driver must pass.
