//! The program that the README shows, and that a test runs: both read the same file.

include!("program.rs");
