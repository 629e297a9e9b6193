//! The output of a sandbox's main command, on its way to a reader.

use std::time::Duration;

use ebbtide::{Error, LogOptions, Sandbox};

use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::reader::Reader;
use crate::tape::Tape;

/// How much is read ahead.
const AHEAD: usize = 1 << 20;

/// Reads line by line for as long as the reader is there, and no longer than `limit`.
pub(crate) fn follow(sandbox: Sandbox, options: LogOptions, limit: Option<Duration>) -> Reader {
    let tape = Tape::new(AHEAD);
    let end = std::sync::Arc::clone(&tape);
    let reader = Reader::of(std::sync::Arc::clone(&tape));
    // The reader's end is its tape; nobody asks this operation.
    let _ = Operation::start(async move {
        let reading = async {
            let mut logs = sandbox.logs(options).await?;
            while let Some(line) = logs.next_line().await? {
                tape.push(line.into_bytes().into());
                tape.room().await;
            }
            Ok(())
        };
        let bounded = async {
            match limit {
                None => reading.await,
                Some(limit) => tokio::time::timeout(limit, reading)
                    .await
                    .unwrap_or_else(|_| Err(Error::Timeout { what: "reading the log".to_owned(), limit })),
            }
        };
        let read = tokio::select! {
            read = bounded => read,
            () = tape.closed() => Ok(()),
        };
        end.finish(read);
        Ok(Outcome::Nothing)
    });
    reader
}
