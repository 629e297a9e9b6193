//! The output of a sandbox's main command, by its handle.

use super::Sandbox;
use crate::{Connection, Error, LogEvent, LogOptions, Logs};

/// The most bytes that are put together for one line.
const LONGEST_LINE: usize = 1 << 20;

/// Reads the output of a sandbox's main command: pieces ([`SandboxLogs::next`]) or lines
/// ([`SandboxLogs::next_line`]).
///
/// Goes on by itself, without a lost or a doubled byte, when the connection breaks or the daemon is replaced.
#[derive(Debug)]
pub struct SandboxLogs {
    logs: Logs,
    connection: Connection,
    /// What was read and is not a whole line yet.
    rest: Vec<u8>,
}

impl Sandbox {
    /// Reads the output of its main command, also when it has ended, for as long as its record is kept. Starts it if
    /// need be.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), ebbtide::Error> {
    /// use ebbtide::{LogOptions, Sandbox};
    ///
    /// let job = Sandbox::builder().command("seq").args(["3"]).run().await?;
    /// let mut logs = job.logs(LogOptions { follow: true, ..LogOptions::default() }).await?;
    /// while let Some(line) = logs.next_line().await? {
    ///     print!("{line}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::wait`], but for one that ended by whatever cause.
    pub async fn logs(&self, options: LogOptions) -> Result<SandboxLogs, Error> {
        let over = self.info().is_some_and(|info| info.state.is_terminal());
        match if over { Ok(()) } else { self.wait().await.map(drop) } {
            Ok(()) | Err(Error::SandboxFailed { .. } | Error::SandboxTerminated { .. }) => {}
            Err(error) => return Err(error),
        }
        let id = self.id().ok_or(Error::NotStarted)?;
        let connection = self.core.connection.clone();
        let logs = connection.client().await?.logs(&id, options);
        Ok(SandboxLogs { logs, connection, rest: Vec::new() })
    }
}

impl SandboxLogs {
    /// What comes next; `None` after the last. Waits while there is nothing yet, without bound. Safe to drop at any
    /// await.
    ///
    /// # Errors
    /// When the sandbox is not there, or the daemon cannot be reached again.
    pub async fn next(&mut self) -> Result<Option<LogEvent>, Error> {
        match self.logs.next().await {
            Err(error) if error.is_disconnect() => {
                self.connection.forget().await;
                self.logs.resume_on(&self.connection.client().await?);
                self.logs.next().await
            }
            next => next,
        }
    }

    /// The next line with its newline; the last one may have none. What is not UTF-8 is replaced. A line of more than
    /// 1 MiB comes in parts. Where the log has a gap, the lines around it are not joined.
    ///
    /// # Errors
    /// As [`SandboxLogs::next`].
    pub async fn next_line(&mut self) -> Result<Option<String>, Error> {
        let mut searched = 0;
        loop {
            let newline = self.rest[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = newline.map(|at| searched + at + 1) {
                return Ok(Some(self.line(at)));
            }
            if self.rest.len() >= LONGEST_LINE {
                return Ok(Some(self.line(LONGEST_LINE)));
            }
            searched = self.rest.len();
            match self.next().await? {
                Some(LogEvent::Data { data, .. }) => self.rest.extend(data),
                Some(LogEvent::Gap) | None if !self.rest.is_empty() => {
                    return Ok(Some(self.line(self.rest.len())));
                }
                Some(LogEvent::Gap) => {}
                None => return Ok(None),
            }
        }
    }

    fn line(&mut self, end: usize) -> String {
        let line: Vec<u8> = self.rest.drain(..end).collect();
        String::from_utf8_lossy(&line).into_owned()
    }
}
