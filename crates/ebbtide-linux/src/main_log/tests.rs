//! What is written is what is read, at any place, also beyond the bound, cut short, and on a full disk.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use ebbtide_driver::{LogMark, LogRecord, LogStream};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::file::LogFile;
use super::writer::{BOUND, STEP};
use super::{BLOCK, HEADER, Header, LogWatches, LogWriter, record};

struct Log {
    file: NamedTempFile,
    writer: LogWriter,
}

impl Log {
    fn new() -> Self {
        let file = NamedTempFile::new().unwrap();
        let writer = LogWriter::new(Some(file.reopen().unwrap()));
        Self { file, writer }
    }

    fn file(&self) -> LogFile {
        LogFile::new(self.file.reopen().unwrap())
    }

    fn records(&self) -> Vec<LogRecord> {
        records(&self.file(), 0)
    }
}

/// Everything from `position` on.
fn records(file: &LogFile, mut position: u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    loop {
        let (found, mut bytes) = file.read(position).unwrap();
        position = found;
        if bytes.is_empty() {
            return records;
        }
        while let Some(record) = record(&bytes) {
            let size = HEADER + record.data.len();
            bytes.drain(..size);
            position += size as u64;
            records.push(record);
        }
    }
}

fn data(records: &[LogRecord]) -> Vec<u8> {
    records.iter().flat_map(|record| record.data.clone()).collect()
}

/// Bytes that are nowhere the same for long, with lines.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| if n % 61 == 0 { b'\n' } else { (n * n / 7 % 251) as u8 }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read_and_found(sizes in prop::collection::vec(1usize..40_000, 1..40)) {
        let mut log = Log::new();
        let all = noise(sizes.iter().sum());
        let mut rest = &all[..];
        for size in sizes {
            let (piece, beyond) = rest.split_at(size);
            log.writer.append(LogStream::Stdout, piece);
            rest = beyond;
        }
        let written = log.records();
        prop_assert!(data(&written) == all);
        let mut end = LogMark::first(UNIX_EPOCH);
        for record in &written {
            end.time = record.mark.time;
            prop_assert_eq!(record.mark, end);
            end = record.end();
        }
        let file = log.file();
        for record in &written {
            let (mark, found) = (record.mark, |position| records(&file, position)[0].mark);
            prop_assert_eq!(found(file.seek(&|other| other.offset <= mark.offset).unwrap()), mark);
            prop_assert!(found(file.seek(&|other| other.lines < mark.lines).unwrap()).lines <= mark.lines);
        }
        prop_assert_eq!(file.seek(&|_| false).unwrap(), 0);
    }

    #[test]
    fn nothing_makes_a_reader_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..300_000)) {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let file = LogFile::new(file.reopen().unwrap());
        let position = file.seek(&|mark| mark.offset < 1 << 40).unwrap();
        records(&file, position);
        records(&file, 0);
    }
}

#[test]
fn the_latest_output_is_kept_and_the_oldest_given_back() {
    let mut log = Log::new();
    let all = noise(3 * BOUND as usize);
    for piece in all.chunks(10_007) {
        log.writer.append(LogStream::Stderr, piece);
    }
    let kept = log.records();
    let oldest = kept[0].mark;
    assert!(data(&kept) == all[oldest.offset as usize..]);
    assert!(all.len() as u64 - oldest.offset > BOUND - 2 * STEP, "too little is kept: {oldest:?}");
    assert_eq!(oldest.lines as usize, all[..oldest.offset as usize].iter().filter(|b| **b == b'\n').count());
    let disk = log.file.as_file().metadata().unwrap().blocks() * 512;
    assert!(disk <= BOUND + STEP, "{disk} bytes on disk");
    // A place that is gone is answered with what is there.
    let file = log.file();
    let position = file.seek(&|mark| mark.offset <= 5).unwrap();
    assert_eq!(records(&file, position)[0].mark, oldest);
    let middle = oldest.offset + 5_000_000;
    let position = file.seek(&|mark| mark.offset <= middle).unwrap();
    let found = &records(&file, position)[0];
    assert!((found.mark.offset..found.end().offset).contains(&middle));
}

#[test]
fn a_record_that_was_cut_short_is_waited_for() {
    let mut log = Log::new();
    log.writer.append(LogStream::Stdout, b"whole\n");
    let whole = log.file.as_file().metadata().unwrap().len();
    log.writer.append(LogStream::Stdout, b"and one more\n");
    let file = log.file();
    let bytes = std::fs::read(log.file.path()).unwrap();
    for length in whole..bytes.len() as u64 {
        log.file.as_file().set_len(length).unwrap();
        assert_eq!(data(&log.records()), b"whole\n", "{length}");
        assert_eq!(file.seek(&|_| true).unwrap(), 0);
    }
    std::fs::write(log.file.path(), bytes).unwrap();
    assert_eq!(data(&log.records()), b"whole\nand one more\n");
    assert_eq!(file.seek(&|_| true).unwrap(), whole);
}

#[test]
fn what_an_earlier_attempt_left_is_no_part_of_the_log() {
    let mut log = Log::new();
    log.writer.append(LogStream::Stdout, b"earlier");
    log.writer = LogWriter::new(Some(log.file.reopen().unwrap()));
    log.writer.append(LogStream::Stdout, b"now");
    assert_eq!(data(&log.records()), b"now");
}

/// `/dev/full` refuses every write.
#[test]
fn output_that_cannot_be_kept_is_counted_and_said() {
    let mut log = Log::new();
    let full = || Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    log.writer.append(LogStream::Stdout, b"before");
    let file = log.writer.replace_file(full());
    log.writer.append(LogStream::Stdout, b"lost");
    log.writer.append(LogStream::Stdout, b"too");
    log.writer.replace_file(file);
    log.writer.append(LogStream::Stdout, b"after\n");
    log.writer.finish();
    let said = b"before\n[ebbtide: 7 bytes of output could not be kept]\nafter\n";
    assert_eq!(data(&log.records()), said);
    assert_eq!(log.records()[1].stream, LogStream::Note);
}

#[test]
fn a_log_that_cannot_be_opened_takes_no_output_and_harms_nobody() {
    let mut writer = LogWriter::new(None);
    writer.append(LogStream::Stdout, b"x");
    writer.finish();
}

#[test]
fn a_header_survives_and_zeros_are_none() {
    let mark = LogMark { offset: 7, lines: 3, begins_line: false, ..LogMark::first(UNIX_EPOCH) };
    for stream in [LogStream::Stdout, LogStream::Stderr, LogStream::Note] {
        let header = Header { mark, stream, length: 9 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }
    assert_eq!(Header::decode(&[0; HEADER]), None);
    let long = Header { mark, stream: LogStream::Stdout, length: BLOCK as usize };
    assert_eq!(Header::decode(&long.encode()), None);
}

#[tokio::test]
async fn a_reader_is_woken_and_the_last_one_takes_its_watch_along() {
    let mut log = Log::new();
    let watches = LogWatches::new().unwrap();
    let open = || super::open(log.file.path(), &watches).unwrap();
    let (mut first, second) = (open(), open());
    assert_eq!(first.next().await.unwrap(), None);
    log.writer.append(LogStream::Stdout, b"hello");
    first.changed().await.unwrap();
    assert_eq!(first.next().await.unwrap().unwrap().data, b"hello");
    assert_eq!(first.next().await.unwrap(), None);
    drop(second);
    log.writer.append(LogStream::Stdout, b"again");
    first.changed().await.unwrap();
    assert_eq!(watches.count(), 1);
    drop(first);
    assert_eq!(watches.count(), 0);
    let mut none = super::open(std::path::Path::new("/nonexistent/log"), &watches).unwrap();
    assert_eq!(none.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_that_is_overtaken_goes_on_with_the_oldest() {
    let mut log = Log::new();
    let watches = LogWatches::new().unwrap();
    let mut reader = super::open(log.file.path(), &watches).unwrap();
    let piece = noise(1 << 20);
    log.writer.append(LogStream::Stdout, &piece);
    let first = reader.next().await.unwrap().unwrap();
    assert_eq!(first.mark.offset, 0);
    for _ in 0..40 {
        log.writer.append(LogStream::Stdout, &piece);
    }
    let mut last = first;
    let mut jumps = Vec::new();
    while let Some(record) = reader.next().await.unwrap() {
        if record.mark.offset != last.end().offset {
            jumps.push(record.mark.offset);
        }
        last = record;
    }
    assert_eq!(jumps, [log.records()[0].mark.offset]);
    assert_eq!(last.end().offset, 41 << 20);
}
