//! StreamLogs: the output of a main command as frames.
//!
//! Frames are pulled by the connection itself, as in `exec`, so a client that does not read costs no memory. A stream can
//! be gone on with from any byte, over another connection and by another daemon: its id says where it began, and what it
//! delivers follows from that and the log (see `place`). Nothing is kept of it here.

mod place;
mod text;

use std::time::{Duration, SystemTime};

use ebbtide_control::{ControlError, MainOutput};
use ebbtide_driver::LogMark;
use ebbtide_model::Invalid;
use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::timestamp;
use futures::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::ending::Ending;
use crate::errors;
use crate::sandboxes::Sandboxes;
use place::{Part, Start};
use text::{Text, whole_characters};

/// About how many bytes a frame has, at most.
const FRAME: usize = 64 << 10;
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Streams the log that is asked for.
pub(crate) async fn stream(
    sandboxes: &Sandboxes,
    request: Request<wire::StreamLogsRequest>,
) -> Result<Response<BoxStream<wire::LogEntry>>, Status> {
    let caller = Caller::from_request(&request)?;
    let request = request.into_inner();
    let begin = Begin::read(&request).map_err(errors::invalid)?;
    let id = &request.sandbox_id;
    sandboxes.check_container(&caller, id, &request.container).await.map_err(errors::control)?;
    let output = sandboxes.control.output(&caller.principal, id).await.map_err(errors::control)?;
    let frames = match Log::open(output, id, begin).await.map_err(errors::control)? {
        Ok(log) => {
            let reading =
                Reading { log, follow: request.follow, ending: sandboxes.ending.clone(), over: false };
            Box::pin(stream::unfold(reading, |mut reading| async { Some((reading.next().await?, reading)) }))
                as _
        }
        Err(problem) => Box::pin(stream::iter([Ok(problem.entry())])) as BoxStream<_>,
    };
    Ok(Response::new(frames))
}

/// Where a stream is to begin.
enum Begin {
    /// At a part of the log.
    Afresh(Part),
    /// Where another stream ended.
    After { session: String, delivered: u64 },
}

impl Begin {
    fn read(request: &wire::StreamLogsRequest) -> Result<Self, Invalid> {
        let tail = u64::try_from(request.tail_lines).map_err(|_| {
            let problem = format!("{} is negative", request.tail_lines);
            Invalid::new("tail_lines", problem, "0 for all lines, or more")
        })?;
        let since = request.since_time.map(time).transpose()?;
        if request.resume_log_session_id.is_empty() {
            if request.resume_log_offset > 0 {
                let problem = "is given without resume_log_session_id";
                return Err(Invalid::new("resume_log_offset", problem, "both, or neither"));
            }
            let tail = Some(tail).filter(|tail| *tail > 0);
            return Ok(Self::Afresh(Part { tail, since, timestamps: request.timestamps }));
        }
        for (field, given) in
            [("tail_lines", tail > 0), ("since_time", since.is_some()), ("timestamps", request.timestamps)]
        {
            if given {
                let problem = "cannot be given with resume_log_session_id, which says it already";
                return Err(Invalid::new(field, problem, "left out"));
            }
        }
        Ok(Self::After {
            session: request.resume_log_session_id.clone(),
            delivered: request.resume_log_offset,
        })
    }
}

fn time(since: prost_types::Timestamp) -> Result<SystemTime, Invalid> {
    let (seconds, nanos) = (u64::try_from(since.seconds), u32::try_from(since.nanos));
    match (seconds, nanos) {
        (Ok(seconds @ ..=LAST_SECOND), Ok(nanos @ ..=999_999_999)) => {
            Ok(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
        }
        _ => Err(Invalid::new("since_time", "is out of range", "a time of the years 1970 to 9999")),
    }
}

/// Why a stream cannot go on, told in the stream itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    SessionNotFound,
    InvalidOffset,
    /// This many bytes of output have been dropped before they were read.
    Gap(u64),
}

impl Problem {
    fn entry(self) -> wire::LogEntry {
        let (code, message) = match self {
            Self::SessionNotFound => (
                "SESSION_NOT_FOUND",
                "the log session is not known for this sandbox; begin a new one".to_owned(),
            ),
            Self::InvalidOffset => (
                "INVALID_RESUME_OFFSET",
                "resume_log_offset is beyond what the session has delivered; resume with the last \
                 next_log_offset"
                    .to_owned(),
            ),
            Self::Gap(bytes) => (
                "REPLAY_GAP",
                format!("{bytes} bytes of output were dropped before they were read; begin a new session"),
            ),
        };
        let error = wire::LogStreamError { code: code.to_owned(), message };
        wire::LogEntry { error: Some(error), ..Default::default() }
    }
}

/// A log that is being delivered.
struct Log {
    output: MainOutput,
    text: Text,
    /// The log's offset of the next record.
    next: u64,
    session: String,
    delivered: u64,
    /// What has not been delivered yet, and when its beginning was written.
    buffer: Vec<u8>,
    time: Option<SystemTime>,
    problem: Option<Problem>,
}

impl Log {
    async fn open(
        mut output: MainOutput,
        id: &str,
        begin: Begin,
    ) -> Result<Result<Self, Problem>, ControlError> {
        let (start, delivered) = match begin {
            Begin::Afresh(part) => (place::find(&mut output, part).await?, 0),
            Begin::After { session, delivered } => match Start::from_session(&session, id) {
                Some(start) => (start, delivered),
                None => return Ok(Err(Problem::SessionNotFound)),
            },
        };
        output.seek(Box::new(move |mark| start.delivered(mark) <= delivered)).await?;
        let record = output.next().await?;
        let end = match &record {
            None => LogMark::first(SystemTime::UNIX_EPOCH),
            Some(record) => {
                let missing = start.delivered(&record.mark).saturating_sub(delivered);
                if missing > 0 {
                    return Ok(Err(Problem::Gap(missing)));
                }
                record.end()
            }
        };
        if delivered > start.delivered(&end) || start.offset > end.offset {
            return Ok(Err(Problem::InvalidOffset));
        }
        let text = Text::new(&start, record, delivered);
        Ok(Ok(Self {
            output,
            next: end.offset,
            session: start.session(id),
            delivered,
            buffer: Vec::new(),
            time: text.time(),
            text,
            problem: None,
        }))
    }

    /// The next entry; waits for more only if `follow` says so. `None` after the last. Safe to drop at the await.
    async fn entry(&mut self, follow: bool) -> Result<Option<wire::LogEntry>, ControlError> {
        loop {
            self.fill().await?;
            if let Some(entry) = self.take(whole_characters(&self.buffer)) {
                return Ok(Some(entry));
            }
            if let Some(problem) = self.problem {
                return Ok(Some(problem.entry()));
            }
            if !follow || !self.output.more().await? {
                return Ok(self.take(self.buffer.len()));
            }
        }
    }

    /// Reads up to a frame of what is there.
    async fn fill(&mut self) -> Result<(), ControlError> {
        while self.buffer.len() < FRAME && self.problem.is_none() {
            if self.text.is_empty() {
                match self.output.next().await? {
                    None => break,
                    Some(record) if record.mark.offset != self.next => {
                        self.problem = Some(Problem::Gap(record.mark.offset.saturating_sub(self.next)));
                        break;
                    }
                    Some(record) => {
                        self.next = record.end().offset;
                        self.time.get_or_insert(record.mark.time);
                        self.text.push(record);
                    }
                }
            }
            self.text.show(&mut self.buffer, FRAME);
        }
        Ok(())
    }

    /// Delivers so many bytes; `None` if that is nothing.
    fn take(&mut self, length: usize) -> Option<wire::LogEntry> {
        if length == 0 {
            return None;
        }
        let rest = self.buffer.split_off(length);
        let data = std::mem::replace(&mut self.buffer, rest);
        self.delivered += length as u64;
        let time = self.time.take();
        self.time = self.text.time();
        Some(wire::LogEntry {
            data: Bytes::from(data),
            timestamp: time.map(timestamp),
            log_session_id: self.session.clone(),
            next_log_offset: self.delivered,
            error: None,
        })
    }
}

/// A log with what ends its delivery.
struct Reading {
    log: Log,
    follow: bool,
    ending: Ending,
    over: bool,
}

impl Reading {
    /// The next entry for the client; `None` after the last.
    async fn next(&mut self) -> Option<Result<wire::LogEntry, Status>> {
        if self.over {
            return None;
        }
        // What ends it comes first: a log may have more to say for ever.
        let entry = tokio::select! {
            biased;
            () = self.ending.begun() => Err(errors::ending()),
            entry = self.log.entry(self.follow) => entry.map_err(errors::control),
        };
        self.over = !matches!(&entry, Ok(Some(entry)) if entry.error.is_none());
        entry.transpose()
    }
}
