//! The exit codes, the same for every verb. A command that ran passes its own code through.

/// A check found something, or some of several targets failed.
pub(crate) const PARTLY: u8 = 1;
/// The command line was not understood.
pub(crate) const USAGE: u8 = 2;
/// Ebbtide itself refused or failed.
pub(crate) const EBBTIDE: u8 = 125;
/// The command is there and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command is not there.
pub(crate) const NOT_FOUND: u8 = 127;

/// What `ebb --help` says about them.
pub(crate) const HELP: &str = "\
Exit codes:
  0        success; run and exec: the command's own code
  1        a check found something (doctor, torture), or some of several targets failed
  2        the command line was not understood
  125      Ebbtide itself refused or failed
  126      the command cannot be executed
  127      the command was not found
  128 + n  ended by signal n, e.g. 130 after Ctrl-C, 141 when the reader of the output went away

Example:
  ebb run -- sh -c 'echo hello from $(uname -n)'";

/// The code of an end by a signal.
pub(crate) fn of_signal(signal: i32) -> u8 {
    128 | u8::try_from(signal & 0x7f).unwrap_or_default()
}

/// The code of a command, as far as a process can pass it on.
pub(crate) fn of_command(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(EBBTIDE)
}
