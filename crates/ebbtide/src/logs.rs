//! The output of a sandbox's main command, as its reader holds it.
//!
//! A reader goes on by itself where its connection broke, without a lost or a doubled byte: the daemon can say from any
//! byte on what it has said before, also another daemon. A reader that does not read costs the daemon nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tokio::time::sleep;
use tonic::{Code, Streaming};

use crate::{Client, Error, Rejection};

/// The pauses before each further attempt to go on, in milliseconds. Whatever arrives begins them anew.
const PAUSES: [u64; 6] = [0, 50, 100, 200, 400, 800];

/// Which part of a log to read, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the sandbox has ended, instead of ending with what is there.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u32>,
    /// Only what was written at this time or later.
    pub since: Option<SystemTime>,
    /// Begin each line with its time (RFC 3339 with nanoseconds) and a space.
    pub timestamps: bool,
}

/// What a reader of a log gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Output. Characters are not cut; lines may be.
    Data {
        /// The bytes.
        data: Vec<u8>,
        /// When the first of them was written.
        time: Option<SystemTime>,
    },
    /// A log is bounded, and here some output was dropped before it was read.
    Gap,
}

/// Reads the log of one sandbox.
#[derive(Debug)]
pub struct Logs {
    client: Client,
    sandbox_id: String,
    options: LogOptions,
    /// The stream to go on with, and what of it has arrived; a new one if there is none.
    session: Option<(String, u64)>,
    stream: Option<Streaming<wire::LogEntry>>,
    /// How often nothing has arrived since something did.
    attempts: usize,
    over: bool,
}

impl Logs {
    pub(crate) fn new(client: Client, sandbox_id: &str, mut options: LogOptions) -> Self {
        if options.tail == Some(0) {
            // The protocol's 0 asks for all lines.
            options.tail = None;
            options.since = options.since.max(Some(SystemTime::now()));
        }
        let sandbox_id = sandbox_id.to_owned();
        Self { client, sandbox_id, options, session: None, stream: None, attempts: 0, over: false }
    }

    fn request(&self) -> wire::StreamLogsRequest {
        let LogOptions { follow, tail, since, timestamps } = self.options;
        let request =
            wire::StreamLogsRequest { sandbox_id: self.sandbox_id.clone(), follow, ..Default::default() };
        match &self.session {
            Some((session, offset)) => wire::StreamLogsRequest {
                resume_log_session_id: session.clone(),
                resume_log_offset: *offset,
                ..request
            },
            None => wire::StreamLogsRequest {
                tail_lines: tail.map_or(0, |lines| i32::try_from(lines).unwrap_or(i32::MAX)),
                since_time: since.map(ebbtide_proto::timestamp),
                timestamps,
                ..request
            },
        }
    }

    /// Goes on over another connection, also after an error of [`Logs::next`].
    pub fn resume_on(&mut self, client: &Client) {
        self.client = client.clone();
        self.stream = None;
    }

    /// What comes next; `None` after the last. Waits while there is nothing yet, without bound. Safe to drop at any await.
    ///
    /// # Errors
    /// When the sandbox is not there or was never made, or when the connection broke and several attempts to go on were
    /// of no use. [`Logs::resume_on`] can then go on with a new one.
    pub async fn next(&mut self) -> Result<Option<LogEvent>, Error> {
        while !self.over {
            match self.entry().await {
                Ok(None) => self.over = true,
                Ok(Some(entry)) => {
                    if let Some(event) = self.take(entry)? {
                        return Ok(Some(event));
                    }
                }
                Err(error) => {
                    self.stream = None;
                    match PAUSES.get(self.attempts) {
                        Some(pause) if is_worth_another(&error) => sleep(Duration::from_millis(*pause)).await,
                        _ => {
                            self.attempts = 0;
                            return Err(error);
                        }
                    }
                    self.attempts += 1;
                }
            }
        }
        Ok(None)
    }

    async fn entry(&mut self) -> Result<Option<wire::LogEntry>, Error> {
        if self.stream.is_none() {
            self.stream = Some(self.client.stream_logs(self.request()).await?);
        }
        match &mut self.stream {
            Some(stream) => Ok(stream.message().await?),
            None => Ok(None),
        }
    }

    /// What an entry means, and where to go on after it.
    fn take(&mut self, entry: wire::LogEntry) -> Result<Option<LogEvent>, Error> {
        if let Some(error) = entry.error {
            self.stream = None;
            if error.code == "REPLAY_GAP" && self.attempts < PAUSES.len() {
                self.attempts += 1;
                // What was to come next is gone, so everything that is left comes after it.
                (self.options.tail, self.options.since, self.session) = (None, None, None);
                return Ok(Some(LogEvent::Gap));
            }
            let rejection = Rejection {
                code: Code::FailedPrecondition,
                reason: Some(error.code),
                trusted: true,
                metadata: BTreeMap::new(),
                retry_delay: None,
                fields: Vec::new(),
                message: error.message,
                request_id: None,
            };
            return Err(Box::new(rejection).into());
        }
        self.attempts = 0;
        self.session = Some((entry.log_session_id, entry.next_log_offset));
        if entry.data.is_empty() {
            return Ok(None);
        }
        let time = entry.timestamp.and_then(|time| SystemTime::try_from(time).ok());
        Ok(Some(LogEvent::Data { data: entry.data.into(), time }))
    }
}

/// Whether the same call may succeed in a moment: the connection broke, or the daemon is being replaced.
fn is_worth_another(error: &Error) -> bool {
    error.is_disconnect() || error.rejection().is_some_and(|rejection| rejection.code == Code::Unavailable)
}
