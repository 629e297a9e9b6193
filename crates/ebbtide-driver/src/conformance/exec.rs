//! Commands in a running sandbox: how they start, act side by side, take signals and end.

use std::sync::Arc;

use ebbtide_model::{Command, ExitStatus, SandboxId};

use super::context::{Context, Failure, Ran, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{DestroyOutcome, DriverError, ExecRequest};

pub(super) async fn exec_reports_exit_code_and_signal(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    for (script, status) in [
        (scripts::EXIT_7, ExitStatus::Code(7)),
        (scripts::TERMINATE_ITSELF, ExitStatus::Signal(15)),
        (scripts::KILL_ITSELF, ExitStatus::Signal(9)),
    ] {
        ensure_eq(script, context.run(&id, sh(script, &[])).await?.status, status)?;
    }
    ensure_eq("false", context.run(&id, words(&["false"])).await?.status, ExitStatus::Code(1))
}

pub(super) async fn exec_gets_environment_and_working_directory(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let with = |mut command: Command, variables: [(&str, &str); 2]| {
        command.env = variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        command
    };
    let main = with(Command::default(), [("EBBTIDE_MAIN", "main"), ("EBBTIDE_BOTH", "lost")]);
    let id = context.sandbox(main).await?;
    let show = with(sh(scripts::SHOW_VARIABLES, &[]), [("EBBTIDE_EXEC", "exec"), ("EBBTIDE_BOTH", "won")]);
    let shown = context.run(&id, show).await?.stdout;
    ensure_eq("variables", String::from_utf8_lossy(&shown).trim(), "main exec won")?;
    let pwd = Command { working_dir: Some("/tmp".to_owned()), ..words(&["pwd"]) };
    let shown = context.run(&id, pwd).await?.stdout;
    ensure_eq("working directory", String::from_utf8_lossy(&shown).trim(), "/tmp")
}

pub(super) async fn missing_command_is_a_typed_error(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    for name in ["ebbtide-no-such-command", "/ebbtide-no-such-directory/command"] {
        match context.refused(&id, words(&[name])).await? {
            DriverError::CommandNotFound { program } => ensure_eq("program", program.as_str(), name)?,
            error => return Err(Failure::Broken(format!("{name} is answered with {error:?}"))),
        }
    }
    Ok(())
}

pub(super) async fn command_that_is_not_executable_is_a_typed_error(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let id = context.idle().await?;
    for name in ["/dev/null", "/tmp"] {
        match context.refused(&id, words(&[name])).await? {
            DriverError::CommandNotExecutable { program, .. } => {
                ensure_eq("program", program.as_str(), name)?;
            }
            error => return Err(Failure::Broken(format!("{name} is answered with {error:?}"))),
        }
    }
    Ok(())
}

pub(super) async fn bad_working_directory_is_a_typed_error(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    for directory in ["/ebbtide-no-such-directory", "/dev/null"] {
        let command = Command { working_dir: Some(directory.to_owned()), ..words(&["true"]) };
        match context.refused(&id, command).await? {
            DriverError::WorkingDirectory { path, .. } => ensure_eq("path", path.as_str(), directory)?,
            error => return Err(Failure::Broken(format!("{directory} is answered with {error:?}"))),
        }
    }
    Ok(())
}

pub(super) async fn execs_run_side_by_side(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut first = context.exec(&id, words(&["cat"]), true).await?;
    let mut second = context.exec(&id, words(&["cat"]), true).await?;
    let echo = context.run(&id, words(&["echo", "third"])).await?;
    ensure_eq("output of a third", echo.stdout.as_slice(), b"third\n")?;
    // The later one is ended first, so neither waits for the other.
    drop(second.stdin.take());
    ensure_eq("the second's end", context.finish(&mut second).await?.status, ExitStatus::Code(0))?;
    drop(first.stdin.take());
    ensure_eq("the first's end", context.finish(&mut first).await?.status, ExitStatus::Code(0))
}

pub(super) async fn dropping_an_exec_ends_its_command(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, sh(scripts::TELL_PID, &[]), false).await?;
    let pid = context.line(&mut exec).await?;
    ensure(context.holds(&id, scripts::IS_ALIVE, &pid).await?, || format!("process {pid} is not seen"))?;
    drop(exec);
    context
        .eventually("the command of a dropped exec ends", || async {
            Ok(!context.holds(&id, scripts::IS_ALIVE, &pid).await?)
        })
        .await
}

pub(super) async fn background_child_does_not_delay_the_exit(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let ran = context.run(&id, sh(scripts::LEAVE_A_CHILD, &[])).await?;
    let expected = Ran { stdout: b"done\n".to_vec(), stderr: Vec::new(), status: ExitStatus::Code(0) };
    ensure_eq("what came", ran, expected)
}

pub(super) async fn signals_reach_the_command(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut handles = context.exec(&id, sh(scripts::HANDLES_SIGNALS, &[]), false).await?;
    ensure_eq("first line", context.line(&mut handles).await?.as_str(), "ready")?;
    context.soon("signal", handles.control.signal(libc::SIGUSR1)).await?;
    let status = context.finish(&mut handles).await?.status;
    ensure_eq("end by a handler", status, ExitStatus::Code(6))?;
    let mut sleeps = context.exec(&id, words(&["sleep", "300"]), false).await?;
    context.soon("signal", sleeps.control.signal(libc::SIGTERM)).await?;
    let status = context.finish(&mut sleeps).await?.status;
    ensure_eq("end by a signal", status, ExitStatus::Signal(15))
}

pub(super) async fn signal_after_the_exit_is_no_error(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, words(&["true"]), false).await?;
    context.finish(&mut exec).await?;
    context.soon("signal after the exit", exec.control.signal(libc::SIGTERM)).await?;
    let control = Arc::clone(&exec.control);
    drop(exec);
    context.soon("signal after the drop", control.signal(libc::SIGTERM)).await
}

pub(super) async fn exec_after_the_end_is_refused(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["true"])).await?;
    context.ended(&id).await?;
    match context.refused(&id, words(&["true"])).await? {
        DriverError::NotRunning(_) | DriverError::NotFound(_) => {}
        error => return Err(Failure::Broken(format!("after the end: {error:?}"))),
    }
    context.destroy(&id).await?;
    match context.refused(&id, words(&["true"])).await? {
        DriverError::NotFound(_) => Ok(()),
        error => Err(Failure::Broken(format!("after the destroy: {error:?}"))),
    }
}

pub(super) async fn unknown_id_is_not_found(context: &Context<'_>) -> Result<(), Failure> {
    let (id, driver) = (SandboxId::generate(), context.driver()?);
    let stop = ebbtide_model::StopOptions::NOW;
    let request = ExecRequest { command: words(&["true"]), stdin: false, terminal: None };
    let answers = [
        ("exec", context.bounded("exec", driver.exec(&id, request)).await?.map(|_| ())),
        ("stop", context.bounded("stop", driver.stop(&id, stop)).await?),
        ("ended", context.bounded("ended", driver.ended(&id)).await?.map(|_| ())),
    ];
    for (call, answer) in answers {
        ensure(matches!(&answer, Err(DriverError::NotFound(found)) if *found == id), || {
            format!("{call} of an unknown id is answered with {answer:?}")
        })?;
    }
    ensure_eq("destroy of an unknown id", context.destroy(&id).await?, DestroyOutcome::AlreadyGone)
}
