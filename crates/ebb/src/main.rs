//! The command line of Ebbtide, and the two roles that its processes have.

mod attach;
mod cli;
mod context;
mod daemon;
mod disposable;
mod exit;
mod failure;
mod owner;
mod signals;
mod spec;
mod table;
mod verbs;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
