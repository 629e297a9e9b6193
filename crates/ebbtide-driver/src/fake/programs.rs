//! The programs that the fake knows, and how a script of its shell runs.

use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use ebbtide_model::{Command, ExitStatus};
use tokio::io::AsyncReadExt;

use super::process::{Output, Process};
use super::sandbox::Sandbox;
use super::shell::{self, Part, Redirect, Statement, Word};
use crate::{DriverError, WindowSize};

/// How much is written at once.
const CHUNK: usize = 16 * 1024;
pub(super) const DIRECTORIES: [&str; 8] = ["/", "/bin", "/dev", "/etc", "/proc", "/tmp", "/usr", "/usr/bin"];
pub(super) const FILES: [&str; 3] = ["/dev/null", "/etc/hostname", "/etc/passwd"];

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    True,
    False,
    Echo,
    Cat,
    Sleep,
    Seq,
    Pwd,
    Id,
    Kill,
    Test,
    Stty,
    Tail,
    Sh,
}

impl Program {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "true" => Self::True,
            "false" => Self::False,
            "echo" => Self::Echo,
            "cat" => Self::Cat,
            "sleep" => Self::Sleep,
            "seq" => Self::Seq,
            "pwd" => Self::Pwd,
            "id" => Self::Id,
            "kill" => Self::Kill,
            "test" | "[" => Self::Test,
            "stty" => Self::Stty,
            "tail" => Self::Tail,
            "sh" => Self::Sh,
            _ => return None,
        })
    }
}

/// Finds the program of a command, as the kernel would in the sandbox.
pub(super) fn resolve(sandbox: &Sandbox, command: &Command) -> Result<Program, DriverError> {
    let is_file = |path: &str| FILES.contains(&path) || sandbox.files().contains_key(path);
    if let Some(path) = &command.working_dir
        && !DIRECTORIES.contains(&path.as_str())
        && path != sandbox.working_dir()
    {
        let errno = if is_file(path) { libc::ENOTDIR } else { libc::ENOENT };
        let cause = io::Error::from_raw_os_error(errno);
        return Err(DriverError::WorkingDirectory { path: path.clone(), cause });
    }
    let program = command.argv.first().cloned().unwrap_or_default();
    let name = program.strip_prefix("/usr").unwrap_or(&program);
    let name = name.strip_prefix("/bin/").unwrap_or(&program);
    match Program::named(name) {
        Some(program) => Ok(program),
        None if DIRECTORIES.contains(&program.as_str()) || is_file(&program) => {
            let cause = io::Error::from_raw_os_error(libc::EACCES);
            Err(DriverError::CommandNotExecutable { program, cause })
        }
        None => Err(DriverError::CommandNotFound { program }),
    }
}

/// Runs a program to its end. An error ends the process.
pub(super) async fn run(process: &mut Process, program: Program, argv: &[String]) -> Result<u8, ExitStatus> {
    let arguments = argv.get(1..).unwrap_or_default();
    let first = arguments.first().map_or("", String::as_str);
    match program {
        Program::True => Ok(0),
        Program::False => Ok(1),
        Program::Echo => {
            process.write(format!("{}\n", arguments.join(" ")).into_bytes()).await?;
            Ok(0)
        }
        Program::Pwd => {
            process.write(format!("{}\n", process.directory).into_bytes()).await?;
            Ok(0)
        }
        Program::Id => match (first, process.sandbox.identity()) {
            ("-u", Ok((id, _))) | ("-g", Ok((_, id))) => {
                process.write(format!("{id}\n").into_bytes()).await?;
                Ok(0)
            }
            _ => complain(process, "id: -u and -g are all that the fake knows").await,
        },
        Program::Sleep if first == "infinity" => {
            Ok(process.signals.during(std::future::pending::<()>()).await?.map_or(143, |()| 0))
        }
        Program::Sleep => match first.parse().map(Duration::try_from_secs_f64) {
            Ok(Ok(time)) => Ok(process.signals.during(tokio::time::sleep(time)).await?.map_or(143, |()| 0)),
            _ => complain(process, &format!("sleep: invalid time interval '{first}'")).await,
        },
        Program::Cat if arguments.is_empty() => copy_stdin(process).await,
        Program::Cat => {
            for path in arguments {
                let content = process.sandbox.files().get(path).cloned();
                match content {
                    Some(content) => process.write(content).await?,
                    None => {
                        return complain(process, &format!("cat: {path}: No such file or directory")).await;
                    }
                }
            }
            Ok(0)
        }
        Program::Seq => match arguments.iter().map(|n| n.parse()).collect::<Result<Vec<u64>, _>>().as_deref()
        {
            Ok(&[first, last]) => count(process, first, last).await,
            _ => complain(process, "seq: FIRST LAST is all that the fake knows").await,
        },
        Program::Kill => match (signal(first), arguments.get(1).and_then(|pid| pid.parse().ok())) {
            (Some(signal), Some(pid)) => {
                let there = process.sandbox.processes.signal(pid, signal);
                process.signals.poll()?;
                Ok(u8::from(!there))
            }
            _ => complain(process, "kill: -SIGNAL PID is all that the fake knows").await,
        },
        Program::Test => match (first, arguments.get(1)) {
            ("-e", Some(path)) => Ok(u8::from(!process.sandbox.files().contains_key(path))),
            ("-t", Some(_)) => Ok(u8::from(process.io.terminal.is_none())),
            _ => complain(process, "test: -e FILE and -t NUMBER are all that the fake knows").await,
        },
        // It waits for the end of a line that has none.
        Program::Tail if first == "/dev/zero" => {
            process.sandbox.ran_out_of_memory(process.pid);
            Err(ExitStatus::Signal(9))
        }
        Program::Tail => complain(process, "tail: /dev/zero is all that the fake knows").await,
        Program::Stty => match (first, process.io.terminal.as_ref().map(|terminal| terminal.size())) {
            ("size", Some(WindowSize { columns, rows })) => {
                process.write(format!("{rows} {columns}\n").into_bytes()).await?;
                Ok(0)
            }
            ("size", None) => complain(process, "stty: Inappropriate ioctl for device").await,
            _ => complain(process, "stty: size is all that the fake knows").await,
        },
        Program::Sh => match (first, arguments.get(1)) {
            ("-c", Some(script)) => {
                process.arguments =
                    if arguments.len() > 2 { arguments[2..].to_vec() } else { vec!["sh".to_owned()] };
                match shell::parse(script) {
                    Ok(statements) => run_script(process, &statements).await,
                    Err(problem) => complain(process, &format!("sh: {problem}")).await.map(|_| 2),
                }
            }
            _ => complain(process, "sh: -c SCRIPT is all that the fake knows").await,
        },
    }
}

async fn complain(process: &mut Process, problem: &str) -> Result<u8, ExitStatus> {
    let stderr = process.io.stderr.clone();
    process.write_to(&stderr, format!("{problem}\n").into_bytes()).await?;
    Ok(1)
}

async fn copy_stdin(process: &mut Process) -> Result<u8, ExitStatus> {
    let Some(mut stdin) = process.io.stdin.take() else { return Ok(0) };
    let mut buffer = vec![0; CHUNK];
    loop {
        match process.signals.during(stdin.read(&mut buffer)).await? {
            Some(Ok(length)) if length > 0 => process.write(buffer[..length].to_vec()).await?,
            _ => return Ok(0),
        }
    }
}

async fn count(process: &mut Process, first: u64, last: u64) -> Result<u8, ExitStatus> {
    let mut chunk = Vec::with_capacity(CHUNK + 32);
    for number in first..=last {
        // Writing to memory cannot fail.
        let _ = writeln!(chunk, "{number}");
        if chunk.len() >= CHUNK {
            process.write(std::mem::take(&mut chunk)).await?;
        }
    }
    process.write(chunk).await?;
    Ok(0)
}

fn signal(argument: &str) -> Option<i32> {
    let name = argument.strip_prefix('-').unwrap_or(argument);
    Some(match name {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "KILL" => libc::SIGKILL,
        "TERM" => libc::SIGTERM,
        "WINCH" => libc::SIGWINCH,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        number => number.parse().ok()?,
    })
}

/// Runs statements in order; the exit code is the last one's. Boxed because scripts nest.
fn run_script<'a>(
    process: &'a mut Process,
    statements: &'a [Statement],
) -> Pin<Box<dyn Future<Output = Result<u8, ExitStatus>> + Send + 'a>> {
    Box::pin(async move {
        let mut code = 0;
        for statement in statements {
            code = run_statement(process, statement).await?;
        }
        Ok(code)
    })
}

pub(super) async fn run_statement(process: &mut Process, statement: &Statement) -> Result<u8, ExitStatus> {
    let code = match statement {
        Statement::Loop { until, condition, body } => {
            while (Box::pin(run_statement(process, condition)).await? == 0) != *until {
                run_script(process, body).await?;
                tokio::task::yield_now().await;
            }
            0
        }
        Statement::Command { words, redirect, background: true } => {
            let (words, redirect) = (words.clone(), redirect.clone());
            process.background(Statement::Command { words, redirect, background: false });
            0
        }
        Statement::Command { words, redirect, background: false } => {
            let words: Vec<String> = words.iter().map(|word| expand(process, word)).collect();
            let output = match redirect {
                Redirect::None => process.io.stdout.clone(),
                Redirect::ToStderr => process.io.stderr.clone(),
                Redirect::File { path, append } => {
                    let path = expand(process, path);
                    let mut files = process.sandbox.files();
                    let file = files.entry(path.clone()).or_default();
                    if !append {
                        file.clear();
                    }
                    drop(files);
                    Output::File(path)
                }
            };
            let stdout = std::mem::replace(&mut process.io.stdout, output);
            let code = run_words(process, &words).await?;
            process.io.stdout = stdout;
            code
        }
    };
    process.signals.poll()?;
    while let Some(handler) = process.signals.due.pop() {
        run_script(process, &handler).await?;
    }
    Ok(code)
}

/// Runs what is built into the shell, or a program.
async fn run_words(process: &mut Process, words: &[String]) -> Result<u8, ExitStatus> {
    let Some(name) = words.first() else { return Ok(0) };
    let first = words.get(1).map(String::as_str);
    match name.as_str() {
        ":" => Ok(0),
        "exit" => Err(ExitStatus::Code(first.and_then(|code| code.parse().ok()).unwrap_or(0))),
        "trap" => match (first, words.get(2).and_then(|name| signal(name))) {
            (Some(handler), Some(signal)) => match shell::parse(handler) {
                Ok(handler) => {
                    process.signals.traps.insert(signal, handler);
                    Ok(0)
                }
                Err(problem) => complain(process, &format!("sh: trap: {problem}")).await,
            },
            _ => complain(process, "sh: trap HANDLER SIGNAL is all that the fake knows").await,
        },
        "exec" => {
            // What ignores a signal goes on ignoring it; handlers go with the shell.
            process.signals.traps.retain(|_, handler| handler.is_empty());
            let code = Box::pin(run_words(process, &words[1..])).await?;
            Err(ExitStatus::Code(code))
        }
        name => {
            let command = Command { argv: words.to_vec(), ..Command::default() };
            match resolve(&process.sandbox, &command) {
                Ok(Program::Sh) => complain(process, "sh: no shell in the fake's shell").await,
                Ok(program) => Box::pin(run(process, program, words)).await,
                Err(DriverError::CommandNotFound { .. }) => {
                    complain(process, &format!("sh: {name}: not found")).await.map(|_| 127)
                }
                Err(_) => complain(process, &format!("sh: {name}: Permission denied")).await.map(|_| 126),
            }
        }
    }
}

fn expand(process: &Process, word: &Word) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Variable(name) if name == "$" => process.pid.to_string(),
        Part::Variable(name) => match name.parse::<usize>() {
            Ok(index) => process.arguments.get(index).cloned().unwrap_or_default(),
            Err(_) => process.env.get(name).cloned().unwrap_or_default(),
        },
    };
    word.iter().map(part).collect()
}
