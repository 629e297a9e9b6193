//! `ebb logs`: the output of a sandbox's main command.

use std::io::{self, Write as _};
use std::str::FromStr;
use std::time::SystemTime;

use clap::Args;
use ebbtide::{LogEvent, LogOptions};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// How often a daemon is looked for anew when it goes while a log is read. Whatever arrives begins the count anew.
const ATTEMPTS: usize = 5;
/// The longest line that is put together for `--json`.
const MAX_LINE: usize = 1 << 20;
/// How a line begins when times are asked for: RFC 3339 with nanoseconds, without the space.
const STAMP: usize = 30;

/// Show the output of a sandbox's main command
///
/// Also after the end of the sandbox, for as long as it is listed. The latest 16 MiB are kept. Standard output and
/// error come together, as they were written; what `ebb run` and `ebb exec` start is not in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb logs -f 01k3q
  ebb logs --tail 20 --since 10m --timestamps 01k3q")]
pub(crate) struct Logs {
    /// The sandbox: its id, or the beginning of it.
    id: String,
    /// Go on until the sandbox has ended.
    #[arg(long, short)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Only what was written since: a time (2026-01-31T12:00:00Z) or how long ago (90s, 10m, 1h30m).
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Begin each line with its time.
    #[arg(long, short = 't')]
    timestamps: bool,
}

/// A time on the command line.
#[derive(Debug, Clone, Copy)]
struct Since(Timestamp);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let ago: Result<SignedDuration, _> = text.parse();
        let time =
            ago.ok().filter(|ago| !ago.is_negative()).and_then(|ago| Timestamp::now().checked_sub(ago).ok());
        time.map(Self).ok_or_else(|| {
            "is neither a time (2026-01-31T12:00:00Z) nor how long ago (90s, 10m, 1h30m)".to_owned()
        })
    }
}

impl Logs {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let (client, id) = context.resolve(&daemon, &self.id).await?;
        let options = LogOptions {
            follow: self.follow,
            tail: self.tail,
            since: self.since.map(|Since(time)| SystemTime::from(time)),
            // In JSON the times are taken out of the lines again.
            timestamps: self.timestamps || context.json,
        };
        let mut reader = client.logs(&id, options);
        let mut printer = if context.json { Printer::Lines(Lines::default()) } else { Printer::Through };
        let mut attempts = 0;
        loop {
            let event = match reader.next().await {
                Err(error) if error.is_disconnect() && attempts < ATTEMPTS => {
                    attempts += 1;
                    reader.resume_on(&context.connect(&daemon).await?);
                    continue;
                }
                event => event?,
            };
            attempts = 0;
            match printer.print(event.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(exit::of_signal(rustix::process::Signal::PIPE.as_raw()));
                }
                Err(error) => return Err(Failure::io("write to standard output", error)),
                Ok(()) if event.is_none() => return Ok(0),
                Ok(()) => {}
            }
        }
    }
}

/// How what is read is shown.
enum Printer {
    /// As it is.
    Through,
    /// A JSON object for each line.
    Lines(Lines),
}

impl Printer {
    fn print(&mut self, event: Option<&LogEvent>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match (self, event) {
            (Self::Through, Some(LogEvent::Data { data, .. })) => out.write_all(data)?,
            (Self::Through, Some(LogEvent::Gap)) => {
                eprintln!("ebb: some output was dropped before it was read")
            }
            (Self::Through, None) => {}
            (Self::Lines(lines), Some(LogEvent::Data { data, .. })) => lines.add(data, &mut out)?,
            (Self::Lines(lines), Some(LogEvent::Gap)) => {
                lines.end(&mut out)?;
                object(&EventView::Gap {}, &mut out)?;
            }
            (Self::Lines(lines), None) => lines.end(&mut out)?,
        }
        out.flush()
    }
}

/// The stable shape of a line of `ebb logs --json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventView<'a> {
    Line { time: &'a str, text: &'a str },
    Gap {},
}

/// Puts lines together, each with the time that it begins with.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// The time of the line that the last piece was of, if that has not ended yet.
    time: Option<String>,
}

impl Lines {
    fn add(&mut self, data: &[u8], out: &mut impl io::Write) -> io::Result<()> {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= MAX_LINE {
                self.show(out)?;
            }
        }
        Ok(())
    }

    /// Shows what is left of the last line.
    fn end(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        if !self.line.is_empty() {
            self.show(out)?;
        }
        self.time = None;
        Ok(())
    }

    fn show(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let (line, has_ended) = line.strip_suffix(b"\n").map_or((&line[..], false), |line| (line, true));
        let (time, text) = match self.time.take() {
            Some(time) => (time, line),
            None => {
                let (time, text) = line.split_at(line.len().min(STAMP));
                (String::from_utf8_lossy(time).into_owned(), text.strip_prefix(b" ").unwrap_or(text))
            }
        };
        object(&EventView::Line { time: &time, text: &String::from_utf8_lossy(text) }, out)?;
        self.time = Some(time).filter(|_| !has_ended);
        Ok(())
    }
}

fn object(event: &EventView<'_>, out: &mut impl io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_with_their_times_however_they_arrive() {
        let stamp = "2026-01-31T12:00:00.000000001Z";
        let long = "x".repeat(MAX_LINE + 5);
        let text = format!("{stamp} one\n{stamp} \n{stamp} {long}\n{stamp} last");
        for size in [1, 7, 1000, text.len()] {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            text.as_bytes().chunks(size).for_each(|piece| lines.add(piece, &mut out).unwrap());
            lines.end(&mut out).unwrap();
            let shown: Vec<serde_json::Value> =
                serde_json::Deserializer::from_slice(&out).into_iter().collect::<Result<_, _>>().unwrap();
            assert!(shown.iter().all(|line| line["event"] == "line" && line["time"] == stamp), "{size}");
            let texts: Vec<&str> = shown.iter().map(|line| line["text"].as_str().unwrap()).collect();
            assert_eq!((texts[0], texts[1], texts[texts.len() - 1]), ("one", "", "last"));
            assert_eq!(texts[2..texts.len() - 1].concat(), long);
        }
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let since = |text: &str| text.parse::<Since>().map(|Since(time)| time);
        assert_eq!(since("2026-01-31T12:00:00Z").unwrap().as_second(), 1_769_860_800);
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            let time = since(text).unwrap();
            let ago = Timestamp::now().duration_since(time).as_secs();
            assert!((seconds..seconds + 60).contains(&ago), "{text}: {ago}");
        }
        for text in ["", "yesterday", "-5m", "12"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
