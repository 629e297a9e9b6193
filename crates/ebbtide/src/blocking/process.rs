//! A command that runs in a sandbox, for callers that wait.

use std::io::{self, Read, Write};

use ebbtide_proto::bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;

use crate::{CommandOutput, Error, WindowSize, engine};

/// A command that runs in a sandbox, as [`crate::Process`].
///
/// ```no_run
/// # fn example(sandbox: ebbtide::blocking::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::{BufRead as _, BufReader};
///
/// let process = sandbox.exec(["seq", "3"]).start()?;
/// for line in BufReader::new(process.stdout.clone()).lines() {
///     println!("> {}", line?);
/// }
/// assert_eq!(process.wait()?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Process {
    /// Standard output.
    pub stdout: ProcessOutput,
    /// Standard error.
    pub stderr: ProcessOutput,
    /// Standard input, if it was asked for.
    pub stdin: Option<ProcessStdin>,
    /// Its own input and outputs are those above.
    inner: crate::Process,
}

impl From<crate::Process> for Process {
    fn from(mut process: crate::Process) -> Self {
        Self {
            stdout: ProcessOutput { inner: process.stdout.clone(), rest: Bytes::new() },
            stderr: ProcessOutput { inner: process.stderr.clone(), rest: Bytes::new() },
            stdin: process.stdin.take().map(|stdin| ProcessStdin(Some(stdin))),
            inner: process,
        }
    }
}

impl Process {
    /// As [`crate::Process::command`].
    pub fn command(&self) -> &[String] {
        self.inner.command()
    }

    /// As [`crate::Process::returncode`].
    pub fn returncode(&self) -> Option<i32> {
        self.inner.returncode()
    }

    /// As [`crate::Process::wait`].
    ///
    /// # Errors
    /// The same.
    pub fn wait(&self) -> Result<i32, Error> {
        let process = self.inner.without_input();
        engine::block_on(async move { process.wait().await })
    }

    /// As [`crate::Process::output`].
    ///
    /// # Errors
    /// The same.
    pub fn output(self) -> Result<CommandOutput, Error> {
        drop(self.stdin);
        engine::block_on(self.inner.output())
    }

    /// As [`crate::Process::resize`].
    pub fn resize(&self, size: WindowSize) -> bool {
        let process = self.inner.without_input();
        engine::block_on(async move { Ok(process.resize(size).await) }).unwrap_or(false)
    }

    /// As [`crate::Process::cancel`].
    pub fn cancel(&self) {
        self.inner.cancel();
    }
}

/// One of the two outputs of a command: bytes ([`Read`]), or pieces as they came ([`Iterator`]).
#[derive(Debug, Clone)]
pub struct ProcessOutput {
    inner: crate::ProcessOutput,
    /// What was taken and did not fit the reader's buffer.
    rest: Bytes,
}

impl Iterator for ProcessOutput {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.rest.is_empty() {
            return Some(Ok(std::mem::take(&mut self.rest)));
        }
        let output = self.inner.clone();
        engine::block_on(async move { output.next().await }).transpose()
    }
}

impl Read for ProcessOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.rest = self.next().transpose().map_err(io::Error::other)?.unwrap_or_default();
        let fits = self.rest.len().min(buffer.len());
        buffer[..fits].copy_from_slice(&self.rest[..fits]);
        self.rest.advance(fits);
        Ok(fits)
    }
}

/// The standard input of a command: write to it, then close it, or drop it, to say that nothing more comes.
#[derive(Debug)]
pub struct ProcessStdin(Option<crate::ProcessStdin>);

impl ProcessStdin {
    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When a blocking call cannot be made here.
    pub fn close(mut self) -> io::Result<()> {
        self.wait_for(|mut stdin| async move { (stdin.shutdown().await, stdin) })
    }

    /// Lends the input to a call that runs elsewhere.
    fn wait_for<F, T>(&mut self, call: impl FnOnce(crate::ProcessStdin) -> F) -> io::Result<T>
    where
        F: Future<Output = (io::Result<T>, crate::ProcessStdin)> + Send + 'static,
        T: Send + 'static,
    {
        let stdin = self.0.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let call = call(stdin);
        let (done, stdin) = engine::block_on(async move { Ok(call.await) }).map_err(io::Error::other)?;
        self.0 = Some(stdin);
        done
    }
}

impl Write for ProcessStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.to_vec();
        self.wait_for(|mut stdin| async move { (stdin.write(&bytes).await, stdin) })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
