//! The output of a sandbox's main command, for callers that wait.

use crate::{Error, engine};

/// The lines of a log, each with its newline, as [`crate::SandboxLogs::next_line`] has them.
///
/// ```no_run
/// # fn example(sandbox: ebbtide::blocking::Sandbox) -> Result<(), ebbtide::Error> {
/// for line in sandbox.logs(ebbtide::LogOptions::default())? {
///     print!("{}", line?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogLines {
    /// Lent to the crate's own thread while it reads; gone after the last line and after an error.
    inner: Option<crate::SandboxLogs>,
}

impl LogLines {
    pub(crate) fn new(logs: crate::SandboxLogs) -> Self {
        Self { inner: Some(logs) }
    }
}

impl Iterator for LogLines {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut logs = self.inner.take()?;
        let next = async move { Ok(logs.next_line().await?.map(|line| (line, logs))) };
        match engine::block_on(next).transpose()? {
            Ok((line, logs)) => {
                self.inner = Some(logs);
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
