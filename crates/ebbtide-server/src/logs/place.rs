//! Where in a log a stream begins, and how far it has come. What a stream delivers follows from these and the log alone,
//! so any daemon can go on with a stream that another one began.

use std::time::SystemTime;

use ebbtide_control::{ControlError, MainOutput};
use ebbtide_driver::{LogMark, LogRecord};

/// The length of the time before each line: RFC 3339 with nanoseconds, and a space.
pub(super) const STAMP: usize = 31;

/// Where a stream begins, and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// How many bytes of the log come before it.
    pub(super) offset: u64,
    /// How many of them are newlines.
    pub(super) lines: u64,
    /// Whether each line begins with its time.
    pub(super) timestamps: bool,
}

impl Start {
    fn at(mark: &LogMark, timestamps: bool) -> Self {
        Self { offset: mark.offset, lines: mark.lines, timestamps }
    }

    /// How many bytes the stream delivers before the log's byte at `mark`, without the time that would come right
    /// before it.
    pub(super) fn delivered(&self, mark: &LogMark) -> u64 {
        if mark.offset <= self.offset {
            return 0;
        }
        let bytes = mark.offset - self.offset;
        if !self.timestamps {
            return bytes;
        }
        // The first one begins at the start, each other after a newline.
        let lines = 1 + mark.lines.saturating_sub(self.lines) - u64::from(mark.begins_line);
        bytes.saturating_add(lines.saturating_mul(STAMP as u64))
    }

    /// The id of the stream, which says all of this, and for which sandbox.
    pub(super) fn session(&self, sandbox: &str) -> String {
        let Self { offset, lines, timestamps } = self;
        format!("{sandbox}.{offset}.{lines}.{}", if *timestamps { "t" } else { "p" })
    }

    /// Reads the id of a stream; `None` if it is none of ours for this sandbox.
    pub(super) fn from_session(text: &str, sandbox: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(sandbox)?.strip_prefix('.')?.split('.');
        let start = Self {
            offset: parts.next()?.parse().ok()?,
            lines: parts.next()?.parse().ok()?,
            timestamps: match parts.next()? {
                "t" => true,
                "p" => false,
                _ => return None,
            },
        };
        // A number can be written in several ways, of which only one is ours.
        (start.session(sandbox) == text && start.lines <= start.offset).then_some(start)
    }
}

/// Which part of a log is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// The last so many lines; all of them if there is none.
    pub(super) tail: Option<u64>,
    /// What came at this time or later.
    pub(super) since: Option<SystemTime>,
    /// Whether each line is to begin with its time.
    pub(super) timestamps: bool,
}

/// Where the part of a log begins that is asked for.
pub(super) async fn find(output: &mut MainOutput, part: Part) -> Result<Start, ControlError> {
    output.seek(Box::new(|_| false)).await?;
    let oldest = output.next().await?;
    let mut start = match &oldest {
        Some(oldest) => oldest.mark,
        None => LogMark::first(SystemTime::UNIX_EPOCH),
    };
    if let Some(since) = part.since {
        output.seek(Box::new(move |mark| mark.time < since)).await?;
        let before = output.next().await?.filter(|record| record.mark.time < since);
        start = before.map_or(start, |record| record.end());
    }
    if let Some(tail) = part.tail
        && let Some(found) = last_lines(output, tail).await?
        && found.offset > start.offset
    {
        start = found;
    }
    Ok(Start::at(&start, part.timestamps))
}

/// Where the last `count` lines begin; `None` if there are no more than that. A line without its end is one.
async fn last_lines(output: &mut MainOutput, count: u64) -> Result<Option<LogMark>, ControlError> {
    output.seek(Box::new(|_| true)).await?;
    let Some(end) = output.next().await?.map(|last| last.end()) else { return Ok(None) };
    let lines = end.lines + u64::from(!end.begins_line);
    let Some(before) = lines.checked_sub(count).filter(|before| *before > 0) else { return Ok(None) };
    output.seek(Box::new(move |mark| mark.lines < before)).await?;
    let record = output.next().await?.filter(|record| record.mark.lines < before);
    Ok(record.map(|record| after_line(&record, before)))
}

/// The place in `record` right after the newline with this number in the log.
fn after_line(record: &LogRecord, number: u64) -> LogMark {
    let newlines = record.data.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let wanted = usize::try_from(number - record.mark.lines).unwrap_or(usize::MAX);
    let end = newlines.map(|(at, _)| at + 1).nth(wanted.saturating_sub(1)).unwrap_or(record.data.len());
    record.mark.after(&record.data[..end], record.mark.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01arz3ndektsv4rrffq69g5fav";

    #[test]
    fn an_id_says_where_its_stream_begins_and_anything_else_is_none() {
        for (offset, lines, timestamps) in [(0, 0, false), (7, 7, true), (u64::MAX, 3, false)] {
            let start = Start { offset, lines, timestamps };
            assert_eq!(Start::from_session(&start.session(ID), ID), Some(start));
            assert_eq!(Start::from_session(&start.session(ID), "other"), None);
        }
        for text in
            ["", ".", "-1.0.p", "1.2.p", "01.0.p", "1.0.x", "1.0.p.", "1.0", "99999999999999999999.0.p"]
        {
            assert_eq!(Start::from_session(&format!("{ID}.{text}"), ID), None, "{text}");
        }
    }
}
