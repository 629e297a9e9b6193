//! The command line of Ebbtide, and the roles that its processes have.

mod attach;
mod cli;
mod context;
mod daemon;
mod disposable;
mod exit;
mod failure;
mod images;
mod kept;
mod policy;
mod progress;
mod screen;
mod signals;
mod spec;
mod starting;
mod table;
mod terminal;
mod verbs;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before anything else: the launcher must not have a second thread, nor anything of the command line's.
    match arguments.next() {
        Some(role) if role == "internal-launcher" => ebbtide_linux::launcher_main(arguments),
        Some(role) if role == "internal-torture-call" => {
            ebbtide_torture::call_main(arguments.map(|word| word.to_string_lossy().into_owned()))
        }
        _ => cli::main(),
    }
}
