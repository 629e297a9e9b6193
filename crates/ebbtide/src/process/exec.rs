//! Saying how a command is to be run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_model::{Invalid, WindowSize};
use tokio::io::AsyncWriteExt as _;

use super::{CommandStream, Process, ProcessOutput, ProcessStdin, Which};
use crate::{CommandOutput, Error, ExecCommand, Sandbox, engine};

/// How much of each output is kept for a reader that is elsewhere, and the most that is collected.
const OUTPUT_LIMIT: usize = 64 << 20;

/// A command to be run in a sandbox, by [`ExecBuilder::start`] or [`ExecBuilder::output`].
#[must_use = "nothing is run before `start` or `output`"]
#[derive(Debug, Clone)]
pub struct ExecBuilder {
    sandbox: Sandbox,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    stdin: bool,
    terminal: Option<WindowSize>,
    check: bool,
    timeout: Option<Duration>,
    limit: usize,
}

impl ExecBuilder {
    pub(crate) fn new(sandbox: Sandbox, command: Vec<String>) -> Self {
        Self {
            sandbox,
            command,
            env: BTreeMap::new(),
            cwd: None,
            stdin: false,
            terminal: None,
            check: false,
            timeout: None,
            limit: OUTPUT_LIMIT,
        }
    }

    /// A variable of its environment, on top of the sandbox's.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The directory to run it in, an absolute path. The sandbox's `/bin/sh` changes to it; one that is not there
    /// shows as what that says and an exit code of its own.
    pub fn cwd(mut self, dir: impl Into<String>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Gives it a standard input to be written to; without, it reads an empty one.
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Runs it on a terminal, which its standard input types on and [`Process::resize`] changes. What the terminal
    /// shows, errors too, comes on standard output; `TERM` is `xterm-256color` unless the environment says so.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    /// use ebbtide::WindowSize;
    /// use tokio::io::AsyncWriteExt as _;
    ///
    /// let mut shell = sandbox.exec(["bash"]).terminal(WindowSize { columns: 120, rows: 40 }).start().await?;
    /// let mut keyboard = shell.stdin.take().ok_or("a terminal has a keyboard")?;
    /// keyboard.write_all(b"stty size; exit\r").await?;
    /// while let Some(shown) = shell.stdout.next().await? {
    ///     print!("{}", String::from_utf8_lossy(&shown));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn terminal(mut self, size: WindowSize) -> Self {
        (self.stdin, self.terminal) = (true, Some(size));
        self
    }

    /// Makes another exit code than 0 an [`Error::CommandFailed`].
    pub fn check(mut self) -> Self {
        self.check = true;
        self
    }

    /// Ends it when it takes longer, from when the sandbox runs.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many bytes of each output are kept for a reader that is elsewhere, and the most that
    /// [`ExecBuilder::output`] collects of each; 64 MiB otherwise.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Starts the sandbox if need be, and then the command.
    ///
    /// # Errors
    /// When the sandbox cannot be started or does not run, when an argument is refused, or the call fails. A
    /// command that cannot be run shows when it is waited for.
    pub async fn start(self) -> Result<Process, Error> {
        let argv = self.argv()?;
        let sandbox_id = self.sandbox.running().await?;
        let command = ExecCommand { sandbox_id, argv, env: self.env, terminal: self.terminal };
        let (sandbox, timeout, limit, command_line) = (self.sandbox, self.timeout, self.limit, self.command);
        let (stdin, stream) = engine::run(async move {
            let client = sandbox.core.connection.client().await?;
            let exec = match client.exec_within(command, timeout).await {
                Ok(exec) => exec,
                Err(error) => return Err(sandbox.explained(error).await),
            };
            Ok((exec.stdin, CommandStream::new(command_line, exec.events, limit, timeout)))
        })
        .await?;
        Ok(Process {
            stdout: ProcessOutput::new(Arc::clone(&stream), Which::Stdout),
            stderr: ProcessOutput::new(Arc::clone(&stream), Which::Stderr),
            resizer: self.terminal.map(|_| stdin.resizer()),
            // Dropped, it closes the input.
            stdin: self.stdin.then(|| ProcessStdin::new(stdin, Arc::clone(&stream))),
            stream,
            check: self.check,
        })
    }

    /// Runs it to its end and collects what it writes.
    ///
    /// # Errors
    /// As [`ExecBuilder::start`] and [`Process::output`].
    pub async fn output(self) -> Result<CommandOutput, Error> {
        self.start().await?.output().await
    }

    /// Runs it to its end with `input` as its standard input, and collects what it writes. A command that does not
    /// read all of it is no failure.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// let sorted = sandbox.exec(["sort"]).output_of("b\na\n").await?;
    /// assert_eq!(sorted.stdout, b"a\nb\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ExecBuilder::output`].
    pub async fn output_of(self, input: impl Into<Vec<u8>>) -> Result<CommandOutput, Error> {
        let input = input.into();
        let mut process = self.stdin().start().await?;
        let stdin = process.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A command may end without having read all of it.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        tokio::pin!(feed);
        let output = process.output();
        tokio::pin!(output);
        tokio::select! {
            output = &mut output => output,
            () = &mut feed => output.await,
        }
    }

    fn argv(&self) -> Result<Vec<String>, Invalid> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(Invalid::new("command", "is empty", "a program and its arguments"));
        }
        let Some(dir) = &self.cwd else { return Ok(self.command.clone()) };
        if !dir.starts_with('/') {
            return Err(Invalid::new("cwd", format!("{dir:?} is not absolute"), "an absolute path"));
        }
        let command: Vec<_> = self.command.iter().map(|word| quoted(word)).collect();
        let script = format!("cd {} && exec {}", quoted(dir), command.join(" "));
        Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), script])
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, HomeLocation};

    fn exec(command: &[&str]) -> ExecBuilder {
        let connection = Connection::to_home(HomeLocation::new("/nonexistent", "/nonexistent"));
        let sandbox = Sandbox::builder().connection(connection).build().unwrap();
        sandbox.exec(command.iter().copied())
    }

    #[test]
    fn a_directory_is_changed_to_by_the_sandboxs_own_shell() {
        let argv = exec(&["printf", "%s", "it's $HOME"]).cwd("/a b").argv().unwrap();
        assert_eq!(argv[..2], ["/bin/sh", "-c"]);
        assert_eq!(argv[2], r"cd '/a b' && exec 'printf' '%s' 'it'\''s $HOME'");
    }

    #[test]
    fn what_cannot_be_run_is_refused_before_anything_is_made() {
        for (refused, field) in [
            (exec(&[]), "command"),
            (exec(&[""]), "command"),
            (exec(&["ls"]).cwd("relative"), "cwd"),
            (exec(&["ls"]).cwd(""), "cwd"),
        ] {
            assert_eq!(refused.argv().unwrap_err().field, field);
        }
    }
}
