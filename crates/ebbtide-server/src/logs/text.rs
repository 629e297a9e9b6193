//! Records of a log as the text that a client gets: put together, with times where they are asked for.

use std::time::SystemTime;

use ebbtide_driver::LogRecord;
use jiff::Timestamp;

use super::place::{STAMP, Start};

/// Makes text of records, from any place of a stream.
#[derive(Debug)]
pub(super) struct Text {
    timestamps: bool,
    begins_line: bool,
    /// How many bytes are left out, since the client has them.
    skip: u64,
    /// What is left to show: a record, and from where on.
    record: Option<(LogRecord, usize)>,
}

impl Text {
    /// The text from `record` on, less what the client has: everything before the start, and `delivered` bytes.
    pub(super) fn new(start: &Start, record: Option<LogRecord>, delivered: u64) -> Self {
        let mut text =
            Self { timestamps: start.timestamps, begins_line: true, skip: delivered, record: None };
        if let Some(record) = record {
            let cut = usize::try_from(start.offset.saturating_sub(record.mark.offset)).unwrap_or(usize::MAX);
            text.begins_line = record.mark.offset <= start.offset || record.mark.begins_line;
            text.skip = delivered.saturating_sub(start.delivered(&record.mark));
            text.record = (cut < record.data.len()).then_some((record, cut));
        }
        text
    }

    /// Whether the next record is needed.
    pub(super) fn is_empty(&self) -> bool {
        self.record.is_none()
    }

    /// Takes the next record.
    pub(super) fn push(&mut self, record: LogRecord) {
        self.record = Some((record, 0));
    }

    /// When what comes next was written.
    pub(super) fn time(&self) -> Option<SystemTime> {
        self.record.as_ref().map(|(record, _)| record.mark.time)
    }

    /// Adds the text of the record to `to`, until that has about `limit` bytes.
    pub(super) fn show(&mut self, to: &mut Vec<u8>, limit: usize) {
        let Some((record, mut from)) = self.record.take() else { return };
        while from < record.data.len() && to.len() < limit {
            if self.timestamps && self.begins_line {
                add(to, &stamp(record.mark.time), &mut self.skip);
            }
            let rest = &record.data[from..];
            let line = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) if self.timestamps => &rest[..=end],
                _ => rest,
            };
            let piece = &line[..line.len().min(limit)];
            self.begins_line = piece.ends_with(b"\n");
            add(to, piece, &mut self.skip);
            from += piece.len();
        }
        if from < record.data.len() {
            self.record = Some((record, from));
        }
    }
}

/// Adds what is not to be left out.
fn add(to: &mut Vec<u8>, bytes: &[u8], skip: &mut u64) {
    let cut = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
    *skip -= cut as u64;
    to.extend_from_slice(&bytes[cut..]);
}

/// A time as each line begins with it.
fn stamp(time: SystemTime) -> [u8; STAMP] {
    let time = Timestamp::try_from(time).unwrap_or_default();
    let mut bytes = [b' '; STAMP];
    let text = format!("{time:.9}");
    // The length is always the same, in this millennium and the next eight.
    for (byte, shown) in bytes.iter_mut().zip(text.bytes()) {
        *byte = shown;
    }
    bytes
}

/// How much of `bytes` can be shown without its last character being cut, as far as they are text.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(3).position(|byte| !(0x80..0xc0).contains(byte));
    let Some(begin) = tail.map(|back| bytes.len() - 1 - back) else { return bytes.len() };
    let length = match bytes[begin] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if begin + length > bytes.len() { begin } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use ebbtide_driver::{LogMark, LogStream};

    use super::*;

    /// A log of these pieces, a second between each.
    fn log(pieces: &[&str]) -> Vec<LogRecord> {
        let mut mark = LogMark::first(UNIX_EPOCH);
        let mut records = Vec::new();
        for piece in pieces {
            let record = LogRecord { mark, stream: LogStream::Stdout, data: piece.as_bytes().to_vec() };
            mark = LogMark { time: mark.time + Duration::from_secs(1), ..record.end() };
            records.push(record);
        }
        records
    }

    /// What a stream delivers after `delivered` bytes, beginning to read where a seek would.
    fn text(records: &[LogRecord], start: &Start, delivered: u64, limit: usize) -> Vec<u8> {
        let first = records
            .partition_point(|record| {
                record.mark.offset <= start.offset || start.delivered(&record.mark) <= delivered
            })
            .saturating_sub(1);
        let mut text = Text::new(start, records.get(first).cloned(), delivered);
        let mut rest = records.iter().skip(first + 1);
        let mut all = Vec::new();
        loop {
            let mut frame = Vec::new();
            text.show(&mut frame, limit);
            all.extend(frame);
            if text.is_empty() {
                match rest.next() {
                    Some(record) => text.push(record.clone()),
                    None => return all,
                }
            }
        }
    }

    #[test]
    fn each_line_begins_with_the_time_of_its_first_byte() {
        let records = log(&["a\nb", "c\n", "\nd"]);
        let start = Start { offset: 0, lines: 0, timestamps: true };
        let (zero, two) = ("1970-01-01T00:00:00.000000000Z ", "1970-01-01T00:00:02.000000000Z ");
        let expected = format!("{zero}a\n{zero}bc\n{two}\n{two}d");
        assert_eq!(String::from_utf8(text(&records, &start, 0, 1000)).unwrap(), expected);
    }

    #[test]
    fn a_stream_goes_on_at_any_byte_as_if_it_had_never_stopped() {
        let records = log(&["one\ntw", "o", "\n", "\n\nthree", " and\nfour\n", "five"]);
        let all: String = records.iter().map(|record| String::from_utf8_lossy(&record.data)).collect();
        for (offset, _) in all.char_indices() {
            let lines = all[..offset].matches('\n').count() as u64;
            for timestamps in [false, true] {
                let start = Start { offset: offset as u64, lines, timestamps };
                let whole = text(&records, &start, 0, 1000);
                if !timestamps {
                    assert_eq!(whole, &all.as_bytes()[offset..]);
                }
                let end = records.last().unwrap().end();
                assert_eq!(start.delivered(&end), whole.len() as u64, "{start:?}");
                for delivered in 0..=whole.len() {
                    let rest = text(&records, &start, delivered as u64, 5);
                    assert_eq!(rest, &whole[delivered..], "{start:?} after {delivered}");
                }
            }
        }
    }

    #[test]
    fn characters_are_not_cut_and_what_is_no_text_is_not_held_back() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("aé".as_bytes(), 3),
            (&"aé".as_bytes()[..2], 1),
            (&"a€".as_bytes()[..3], 1),
            (&"😀".as_bytes()[..3], 0),
            ("😀".as_bytes(), 4),
            (b"\xff", 1),
            (b"\x80\x80\x80\x80", 4),
            (b"", 0),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:?}");
        }
    }
}
