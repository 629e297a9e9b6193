//! The output of the main command: kept whole, found again, read while it grows.

use std::time::{Duration, SystemTime};

use ebbtide_model::SandboxId;

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{LogBefore, LogMark, LogRecord, LogStream, MainLog};

async fn open(context: &Context<'_>, id: &SandboxId) -> Result<Box<dyn MainLog>, Failure> {
    context.soon("log", context.driver()?.log(id)).await
}

async fn next(context: &Context<'_>, log: &mut dyn MainLog) -> Result<Option<LogRecord>, Failure> {
    context.soon("the next record of a log", log.next()).await
}

/// Everything that is there now. Each record must follow the one before it.
async fn rest(context: &Context<'_>, log: &mut dyn MainLog) -> Result<Vec<LogRecord>, Failure> {
    let mut records: Vec<LogRecord> = Vec::new();
    while let Some(record) = next(context, log).await? {
        ensure(!record.data.is_empty(), || "a record of a log is empty".to_owned())?;
        if let Some(last) = records.last() {
            let end = last.end();
            ensure_eq("mark", record.mark, LogMark { time: record.mark.time.max(end.time), ..end })?;
        }
        records.push(record);
    }
    Ok(records)
}

async fn whole(context: &Context<'_>, id: &SandboxId) -> Result<Vec<LogRecord>, Failure> {
    let records = rest(context, &mut *open(context, id).await?).await?;
    if let Some(first) = records.first() {
        ensure_eq("first mark", first.mark, LogMark::first(first.mark.time))?;
    }
    Ok(records)
}

fn of(records: &[LogRecord], stream: LogStream) -> Vec<u8> {
    let of_stream = records.iter().filter(|record| record.stream == stream);
    of_stream.flat_map(|record| record.data.iter().copied()).collect()
}

fn text(records: &[LogRecord]) -> String {
    records.iter().map(|record| String::from_utf8_lossy(&record.data)).collect()
}

pub(super) async fn log_has_both_streams_of_the_main_command_and_no_others(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let before = SystemTime::now();
    let main = format!("{}; {}", scripts::BOTH_STREAMS, scripts::COUNT_STARTS);
    let id = context.sandbox(sh(&main, &[])).await?;
    context.run(&id, sh(scripts::SHOW_STARTS, &[])).await?;
    context
        .eventually("both lines are in the log", || async {
            Ok(text(&whole(context, &id).await?).len() >= "out\nerr\n".len())
        })
        .await?;
    let records = whole(context, &id).await?;
    ensure_eq("stdout", of(&records, LogStream::Stdout).as_slice(), b"out\n")?;
    ensure_eq("stderr", of(&records, LogStream::Stderr).as_slice(), b"err\n")?;
    let times = before - Duration::from_secs(1)..SystemTime::now() + Duration::from_secs(1);
    ensure(records.iter().all(|record| times.contains(&record.mark.time)), || {
        format!("times: {records:?} instead of {times:?}")
    })
}

pub(super) async fn large_log_is_intact(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::COUNT, &[])).await?;
    context.ended(&id).await?;
    let found = of(&whole(context, &id).await?, LogStream::Stdout);
    ensure(found == scripts::counted(), || {
        format!("{} bytes instead of {}, or others", found.len(), scripts::counted().len())
    })
}

pub(super) async fn log_of_no_main_command_is_empty(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    context.run(&id, words(&["echo", "hello"])).await?;
    ensure_eq("log of an idle sandbox", whole(context, &id).await?, Vec::new())?;
    ensure_eq("log of an unknown one", whole(context, &SandboxId::generate()).await?, Vec::new())?;
    context.soon("forget of an unknown one", context.driver()?.forget(&SandboxId::generate())).await
}

/// Reads `log` until it holds as much as `expected`, and waits where there is no more yet.
async fn follow(
    context: &Context<'_>,
    log: &mut dyn MainLog,
    found: &mut String,
    expected: &str,
) -> Result<(), Failure> {
    while found.len() < expected.len() {
        match next(context, log).await? {
            Some(record) => found.push_str(&String::from_utf8_lossy(&record.data)),
            None => context.soon("waiting for more of a log", log.changed()).await?,
        }
    }
    ensure_eq("followed", found.as_str(), expected)
}

pub(super) async fn log_reader_is_woken(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::WRITE_WHEN_MARKED, &[])).await?;
    let mut log = open(context, &id).await?;
    let mut found = String::new();
    follow(context, &mut *log, &mut found, "first\n").await?;
    ensure_eq("after the first line", next(context, &mut *log).await?, None)?;
    // A wait that is given up loses nothing.
    let _ = tokio::time::timeout(Duration::from_millis(50), log.changed()).await;
    context.run(&id, sh(scripts::MARK, &[])).await?;
    follow(context, &mut *log, &mut found, "first\nsecond\n").await
}

pub(super) async fn log_is_read_by_several_at_their_own_pace(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::WRITE_WHEN_MARKED, &[])).await?;
    let (mut first, mut second) = (open(context, &id).await?, open(context, &id).await?);
    let mut found = String::new();
    follow(context, &mut *first, &mut found, "first\n").await?;
    context.run(&id, sh(scripts::MARK, &[])).await?;
    follow(context, &mut *first, &mut found, "first\nsecond\n").await?;
    drop(first);
    follow(context, &mut *second, &mut String::new(), "first\nsecond\n").await
}

pub(super) async fn log_goes_on_without_a_daemon(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::WRITE_AND_WRITE_LATER, &[])).await?;
    context.reconnect_after(tokio::time::sleep(Duration::from_millis(700))).await?;
    context.ended(&id).await?;
    ensure_eq("log", text(&whole(context, &id).await?).as_str(), "first\nsecond\n")
}

pub(super) async fn log_is_kept_until_it_is_forgotten(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::BOTH_STREAMS, &[])).await?;
    context.ended(&id).await?;
    let records = whole(context, &id).await?;
    ensure(!records.is_empty(), || "nothing is in the log".to_owned())?;
    context.destroy(&id).await?;
    ensure_eq("log after the destroy", whole(context, &id).await?, records.clone())?;
    context.reconnect().await?;
    ensure_eq("log after a reconnect", whole(context, &id).await?, records)?;
    for _ in 0..2 {
        context.soon("forget", context.driver()?.forget(&id)).await?;
        ensure_eq("log after it was forgotten", whole(context, &id).await?, Vec::new())?;
    }
    Ok(())
}

pub(super) async fn seek_finds_any_place_of_a_log(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::COUNT, &[])).await?;
    context.ended(&id).await?;
    let records = whole(context, &id).await?;
    let Some(end) = records.last().map(|last| last.end().offset) else {
        return Err(Failure::Broken("nothing is in the log".to_owned()));
    };
    let mut log = open(context, &id).await?;
    for wanted in [0, 1, end / 3, end / 2, end - 1, end, 2 * end] {
        let time = records[records.len() * (wanted % 7) as usize / 7].mark.time;
        let places: [(&str, LogBefore); 3] = [
            ("offset", Box::new(move |mark: &LogMark| mark.offset <= wanted)),
            ("lines", Box::new(move |mark: &LogMark| mark.lines < wanted / 7)),
            ("time", Box::new(move |mark: &LogMark| mark.time < time)),
        ];
        for (by, before) in places {
            let index = records.partition_point(|record| before(&record.mark)).saturating_sub(1);
            context.soon("seek", log.seek(before)).await?;
            let found = next(context, &mut *log).await?;
            ensure(found.as_ref() == records.get(index), || {
                let mark = found.map(|record| record.mark);
                format!("seek by {by}: {mark:?} instead of {:?}", records[index].mark)
            })?;
        }
    }
    Ok(())
}
