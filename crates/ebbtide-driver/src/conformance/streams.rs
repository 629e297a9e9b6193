//! What goes into a command and comes out of it.

use std::time::Duration;

use ebbtide_model::ExitStatus;

use super::context::{Context, Failure, Ran, ensure, ensure_eq, same_bytes, sh, stdin, words, write};
use super::scripts;
use crate::ExecEvent;

pub(super) async fn both_output_streams_arrive_apart(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let ran = context.run(&id, sh(scripts::BOTH_STREAMS, &[])).await?;
    let (stdout, stderr) = (b"out\n".to_vec(), b"err\n".to_vec());
    ensure_eq("what came", ran, Ran { stdout, stderr, status: ExitStatus::Code(0) })
}

pub(super) async fn stdin_reaches_the_command_and_ends(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, words(&["cat"]), true).await?;
    let mut stdin = stdin(&mut exec)?;
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    write(context, &mut stdin, &bytes).await?;
    // What was written arrives before the end of the input does.
    let mut arrived = Vec::new();
    while arrived.len() < bytes.len() {
        match context.event(&mut exec).await? {
            ExecEvent::Stdout(more) => arrived.extend(more),
            other => return Err(Failure::Broken(format!("{other:?} instead of the input"))),
        }
    }
    ensure_eq("input", arrived, bytes)?;
    drop(stdin);
    let rest = Ran { stdout: Vec::new(), stderr: Vec::new(), status: ExitStatus::Code(0) };
    ensure_eq("after the end of the input", context.finish(&mut exec).await?, rest)
}

pub(super) async fn exec_without_stdin_reads_an_empty_one(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, words(&["cat"]), false).await?;
    ensure(exec.stdin.is_none(), || "there is a standard input that nobody asked for".to_owned())?;
    ensure_eq("cat", context.finish(&mut exec).await?.status, ExitStatus::Code(0))
}

pub(super) async fn large_output_is_intact(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let ran = context.run(&id, sh(scripts::COUNT, &[])).await?;
    ensure_eq("end", ran.status, ExitStatus::Code(0))?;
    same_bytes(&ran.stdout, scripts::counted())
}

pub(super) async fn large_input_is_intact(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, words(&["cat"]), true).await?;
    let mut stdin = stdin(&mut exec)?;
    let bytes = scripts::counted();
    let writing = async {
        for chunk in bytes.chunks(100_000) {
            write(context, &mut stdin, chunk).await?;
        }
        drop(stdin);
        Ok(())
    };
    let (written, ran) = tokio::join!(writing, context.finish(&mut exec));
    let ran = written.and(ran)?;
    ensure_eq("end", ran.status, ExitStatus::Code(0))?;
    same_bytes(&ran.stdout, bytes)
}

pub(super) async fn unread_output_stops_the_command(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, sh(scripts::COUNT_AND_MARK, &[]), false).await?;
    // Half a second, and two others that write as much and are read: on a slow machine too, this one had time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..2 {
        context.run(&id, sh(scripts::COUNT, &[])).await?;
    }
    ensure(!context.holds(&id, scripts::IS_MARKED, "").await?, || {
        "4 MB were taken from the command though nobody read them".to_owned()
    })?;
    let ran = context.finish(&mut exec).await?;
    same_bytes(&ran.stdout, scripts::counted())?;
    ensure(context.holds(&id, scripts::IS_MARKED, "").await?, || {
        "the command did not go on once it was read".to_owned()
    })
}

pub(super) async fn no_event_is_lost_by_dropping_a_wait(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, sh(scripts::COUNT, &[]), false).await?;
    let mut stdout = Vec::new();
    let reading = async {
        loop {
            match tokio::time::timeout(Duration::from_millis(1), exec.events.next()).await {
                Err(_) => {}
                Ok(Ok(ExecEvent::Stdout(bytes))) => stdout.extend(bytes),
                Ok(Ok(ExecEvent::Stderr(_))) => {}
                Ok(Ok(ExecEvent::Exit(_))) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
    };
    context.soon("reading to the end", reading).await?;
    same_bytes(&stdout, scripts::counted())
}
