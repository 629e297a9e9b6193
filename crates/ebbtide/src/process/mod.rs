//! A command that runs in a sandbox.

mod exec;
mod output;
mod result;
mod stdin;
mod stream;

use std::sync::Arc;

pub use exec::ExecBuilder;
pub use output::ProcessOutput;
pub use result::CommandOutput;
pub use stdin::ProcessStdin;

pub(crate) use self::stream::{CommandStream, Which};
use crate::{Error, ExecResizer, WindowSize};

/// A command that runs in a sandbox: something to read from, something to write to, an end to wait for.
///
/// It belongs to its handles: when this and its outputs are dropped, the command is ended.
///
/// # What is read, and when
///
/// Nothing is taken from the connection unless somebody waits for something, so a command whose caller does
/// nothing is stopped by its full pipe, as it would be by a slow reader of a pipe. Whoever waits keeps aside what
/// is meant for others: a reader of standard output what comes on standard error, [`Process::wait`] both. So no
/// order of reading can block for ever, also with only one of the two read. What is kept aside is bounded
/// ([`ExecBuilder::output_limit`], 64 MiB of each): past that it is thrown away, the exit code still comes, and
/// reading the stream ends with [`Error::OutputTooLarge`] where something is missing.
///
/// ```no_run
/// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
/// let process = sandbox.exec(["sh", "-c", "seq 1000000; echo done >&2"]).start().await?;
/// let mut bytes = 0;
/// while let Some(piece) = process.stdout.next().await? {
///     bytes += piece.len();
/// }
/// assert_eq!(process.wait().await?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Process {
    /// Standard output.
    pub stdout: ProcessOutput,
    /// Standard error.
    pub stderr: ProcessOutput,
    /// Standard input, if it was asked for by [`ExecBuilder::stdin`].
    pub stdin: Option<ProcessStdin>,
    pub(crate) stream: Arc<CommandStream>,
    pub(crate) check: bool,
    pub(crate) resizer: Option<ExecResizer>,
}

impl Process {
    /// Program and arguments.
    pub fn command(&self) -> &[String] {
        self.stream.command()
    }

    /// The exit code, once it was seen; 128 plus the signal if a signal ended it. Does not wait and asks nobody.
    pub fn returncode(&self) -> Option<i32> {
        self.stream.exit_code()
    }

    /// Waits for the end; says the exit code, 128 plus the signal if a signal ended it. May be called again.
    ///
    /// # Errors
    /// [`Error::CommandTimeout`], [`Error::Command`] if it could not be run, or when the connection breaks. With
    /// [`ExecBuilder::check`], [`Error::CommandFailed`] for another code than 0, with what was not read yet.
    pub async fn wait(&self) -> Result<i32, Error> {
        let code = self.stream.end().await?;
        if self.check && code != 0 {
            let (stdout, stderr) = (self.stream.take(Which::Stdout), self.stream.take(Which::Stderr));
            return Err(Error::CommandFailed(Box::new(self.result(code, stdout, stderr))));
        }
        Ok(code)
    }

    /// Closes standard input and reads what was not read yet of both outputs, to the end.
    ///
    /// # Errors
    /// As [`Process::wait`]; [`Error::OutputTooLarge`], which ends the command.
    pub async fn output(mut self) -> Result<CommandOutput, Error> {
        // An input that nobody can write to any more would be waited for without end.
        self.stdin = None;
        let (stdout, stderr) = futures::try_join!(self.collect(Which::Stdout), self.collect(Which::Stderr))?;
        let code = self.stream.end().await?;
        let result = self.result(code, stdout, stderr);
        if self.check && code != 0 { Err(Error::CommandFailed(Box::new(result))) } else { Ok(result) }
    }

    /// Changes the size of its terminal ([`ExecBuilder::terminal`]); the programs on it hear of that. `false` if there
    /// is none, or none any more: the command has ended, or its input was closed.
    pub async fn resize(&self, size: WindowSize) -> bool {
        match &self.resizer {
            Some(resizer) => resizer.resize(size).await,
            None => false,
        }
    }

    /// Ends the command. What was read already stays readable.
    pub fn cancel(&self) {
        self.stream.cancel();
    }

    /// Another handle of the same command, which cannot write to it.
    pub(crate) fn without_input(&self) -> Self {
        Self {
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            stdin: None,
            stream: Arc::clone(&self.stream),
            check: self.check,
            resizer: self.resizer.clone(),
        }
    }

    fn result(&self, exit_code: i32, stdout: Vec<u8>, stderr: Vec<u8>) -> CommandOutput {
        CommandOutput { command: self.command().to_vec(), exit_code, stdout, stderr }
    }

    async fn collect(&self, which: Which) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let limit = self.stream.limit();
        while let Some(piece) = self.stream.next(which).await? {
            if all.len() + piece.len() > limit {
                self.cancel();
                return Err(Error::OutputTooLarge { limit });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}
