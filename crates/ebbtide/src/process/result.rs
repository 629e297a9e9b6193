//! What a command did.

use std::borrow::Cow;

/// What a command wrote and how it ended.
///
/// ```
/// # use ebbtide::CommandOutput;
/// let said = CommandOutput { stdout: b"hi\n".to_vec(), ..Default::default() };
/// assert!(said.success());
/// assert_eq!(said.stdout_text(), "hi\n");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// Program and arguments, as the caller gave them.
    pub command: Vec<String>,
    /// The exit code, 128 plus the signal if a signal ended it.
    pub exit_code: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl CommandOutput {
    /// Whether it returned 0.
    pub fn success(&self) -> bool {
        self.exit_code == 0
    }

    /// Standard output as text; what is not UTF-8 is replaced.
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text; what is not UTF-8 is replaced.
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}
