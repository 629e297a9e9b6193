//! What the Python package `ebbtide` is made of underneath: the Rust client's sandboxes, as classes that know nothing of
//! how Python programs like to use them. That is the package's own part, in Python.
//!
//! # Threads
//!
//! All work is done on the client's own thread, which never takes the interpreter's lock and never holds a Python
//! object: an interpreter that ends, or whose lock is held, cannot stop it, and it cannot stop an interpreter. What
//! it finds is put into a cell (`operation`) as a Rust value; the thread that asks makes a Python value of it.
//! Whoever waits does so without the interpreter's lock, in slices between which signals are looked at. An event loop
//! waits for a descriptor (`notify`).
//!
//! # Forks
//!
//! A forked child has none of that thread. Every class holds what it has as `process::Ours`, which can be neither
//! used nor dropped there, and all global state is of one process.

mod connection;
mod exec;
mod failure;
mod files;
mod function;
mod logs;
mod module;
mod notify;
mod operation;
mod outcome;
mod owned;
mod ownership;
mod process;
mod reader;
mod repeat;
mod sandbox;
mod session;
mod spec;
mod tape;
