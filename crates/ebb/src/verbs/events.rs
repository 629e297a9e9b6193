//! `ebb events`: what happens to sandboxes, as it happens.

use std::io::{self, Write as _};

use clap::Args;
use ebbtide::proto::ebbtide::v1 as own;
use ebbtide::{Client, Error, EventsOptions, Target};
use ebbtide_model::ErrorReason;
use rustix::process::Signal;
use serde::Serialize;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::table;
use crate::view::instant;

/// Show what happens to sandboxes
///
/// The daemon keeps the last 4096 events of each user in memory; those are shown first. With --json each event is
/// one line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb events -f
  ebb events --sandbox 01k3q --json")]
pub(crate) struct Events {
    /// Go on with the events that come, also over the death of a daemon.
    #[arg(long, short)]
    follow: bool,
    /// Only those of this sandbox: its id, or the beginning of it.
    #[arg(long, value_name = "ID")]
    sandbox: Option<String>,
    /// Only those of sandboxes with this tag; repeated, with all of them.
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    tags: Vec<String>,
    /// Only those after the event with this number.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    since: u64,
}

/// The stable shape of one line of `ebb events --json`.
#[derive(Serialize)]
struct EventView {
    sequence: Option<u64>,
    time: Option<String>,
    event: String,
    sandbox_id: Option<String>,
    principal: Option<String>,
    tags: Vec<String>,
    reason: Option<String>,
    message: Option<String>,
    exit_code: Option<i32>,
    missed: Option<u64>,
}

impl From<own::Event> for EventView {
    fn from(event: own::Event) -> Self {
        let kind = event.kind().as_str_name().trim_start_matches("EVENT_KIND_").to_ascii_lowercase();
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            sequence: Some(event.sequence).filter(|sequence| *sequence > 0),
            time: event.time.and_then(|time| instant(&time)).map(|time| time.to_string()),
            event: kind,
            sandbox_id: filled(event.sandbox_id),
            principal: filled(event.principal),
            tags: event.tags,
            reason: filled(event.reason),
            message: filled(event.message),
            exit_code: event.exit_code,
            missed: event.missed,
        }
    }
}

impl EventView {
    /// One line for a person.
    fn line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.sequence.is_none() {
            let missed = self
                .missed
                .map_or_else(|| "events of an earlier daemon".to_owned(), |missed| missed.to_string());
            words.push(format!("missed {missed}"));
        }
        words.extend(self.reason.clone());
        words.extend(self.exit_code.map(|code| format!("({code})")));
        words.extend(self.message.as_deref().map(table::one_line));
        let (time, id) = (self.time.as_deref().unwrap_or("-"), self.sandbox_id.as_deref().unwrap_or("-"));
        format!("{time:<30}  {id:<26}  {:<10}  {}", self.event, words.join(" ")).trim_end().to_owned()
    }
}

/// Why reading came to its end.
enum End {
    /// There was nothing more, or the daemon ended in order.
    Over,
    /// Nobody reads our output any more.
    BrokenPipe,
    /// The daemon is gone without a word.
    Disconnected(Error),
}

impl Events {
    /// Does it.
    pub(crate) async fn run(mut self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let mut client = match self.sandbox.take() {
            Some(id) => {
                let (client, id) = context.resolve(&daemon, &id).await?;
                self.sandbox = Some(id);
                client
            }
            None => context.connect(&daemon).await?,
        };
        loop {
            match self.read(context, &client).await? {
                End::Over => return Ok(0),
                End::BrokenPipe => return Ok(exit::of_signal(Signal::PIPE.as_raw())),
                End::Disconnected(_) if self.follow => client = self.reconnect(context, &daemon).await?,
                End::Disconnected(error) => return Err(error.into()),
            }
        }
    }

    async fn reconnect(&self, context: &Context, daemon: &Target) -> Result<Client, Failure> {
        eprintln!("ebb: the daemon is gone; going on with the next one");
        context.connect(daemon).await
    }

    /// Shows events until there are no more; remembers where that was.
    async fn read(&mut self, context: &Context, client: &Client) -> Result<End, Failure> {
        let options = EventsOptions {
            follow: self.follow,
            since: self.since,
            sandbox_id: self.sandbox.clone().unwrap_or_default(),
            tags: self.tags.clone(),
        };
        let mut events = match client.events(options).await {
            Ok(events) => events,
            Err(error) => return end(error),
        };
        loop {
            let event = match events.next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(End::Over),
                Err(error) => return end(error),
            };
            self.since = self.since.max(event.sequence);
            let view = EventView::from(event);
            let line = if context.json {
                serde_json::to_string(&view)
                    .map_err(|error| Failure::io("write an event as JSON", io::Error::other(error)))?
            } else {
                view.line()
            };
            let mut stdout = io::stdout().lock();
            match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::BrokenPipe),
                Err(error) => return Err(Failure::io("write to standard output", error)),
            }
        }
    }
}

fn end(error: Error) -> Result<End, Failure> {
    let reason = error.rejection().and_then(|rejection| rejection.reason.as_deref());
    if reason == Some(ErrorReason::BackendUnavailable.as_str()) {
        eprintln!("ebb: the daemon has ended");
        return Ok(End::Over);
    }
    if error.is_disconnect() { Ok(End::Disconnected(error)) } else { Err(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_write_to_the_terminal() {
        let event = own::Event { message: "\x1b[2J".into(), sequence: 1, ..Default::default() };
        assert!(!EventView::from(event).line().contains('\x1b'));
    }

    #[test]
    fn missed_events_are_counted_where_that_is_known() {
        let line = |missed| {
            let kind = own::EventKind::Missed.into();
            EventView::from(own::Event { kind, missed, ..Default::default() }).line()
        };
        assert!(line(Some(7)).ends_with("missed      missed 7"), "{}", line(Some(7)));
        assert!(line(None).ends_with("missed events of an earlier daemon"));
    }
}
