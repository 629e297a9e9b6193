//! The call that holds a lease: opened, kept up, and opened again when it was cut.

use std::time::Duration;

use ebbtide_model::Invalid;
use ebbtide_proto::ebbtide::v1 as own;
use own::hold_request::Request as Say;
use own::hold_response::Response as Said;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::LeaseToken;
use crate::{Client, Connection, Error, ErrorKind};

/// The first and the longest pause between two attempts to come back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(20);
/// How many heartbeats may be missed.
const MISSED: u32 = 3;
/// How far apart heartbeats may be, in seconds.
const HEARTBEATS: std::ops::RangeInclusive<u64> = 5..=3600;
/// The variable that asks for heartbeats.
pub(crate) const HEARTBEAT_VARIABLE: &str = "EBBTIDE_LEASE_HEARTBEAT";

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) token: LeaseToken,
    /// Whether the daemon knows this process by the kernel.
    pub(super) local: bool,
    heartbeat: Option<Duration>,
    requests: mpsc::Sender<own::HoldRequest>,
    responses: Streaming<own::HoldResponse>,
}

impl Hold {
    pub(super) async fn open(client: &Client, heartbeat: Option<Duration>) -> Result<Self, Error> {
        let open = own::Open { label: label(), heartbeat_seconds: seconds(heartbeat) };
        Self::begin(client, Say::Open(open), heartbeat).await
    }

    async fn begin(client: &Client, first: Say, heartbeat: Option<Duration>) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(1);
        // There is room: the queue is new.
        let _ = requests.send(own::HoldRequest { request: Some(first) }).await;
        let mut responses = client.leases.clone().hold(ReceiverStream::new(queue)).await?.into_inner();
        match responses.message().await?.and_then(|message| message.response) {
            Some(Said::Held(held)) => {
                let token = LeaseToken::new(&held.token)?;
                Ok(Self { token, local: held.local, heartbeat, requests, responses })
            }
            Some(Said::Heartbeat(_)) => Err(Error::Protocol("a heartbeat before the lease".to_owned())),
            None => Err(Error::Disconnected("the lease was not answered".to_owned())),
        }
    }

    /// Keeps it up until it is lost.
    pub(super) async fn lost(&mut self) {
        let Some(every) = self.heartbeat.filter(|_| !self.local) else {
            while let Ok(Some(_)) = self.responses.message().await {}
            return;
        };
        let mut heard = Instant::now();
        let mut next = heard + every;
        loop {
            tokio::select! {
                // What has come already counts before the time that has passed: this process may have stood still.
                biased;
                said = self.responses.message() => match said {
                    Ok(Some(_)) => heard = Instant::now(),
                    Ok(None) | Err(_) => return,
                },
                () = sleep_until(heard + every * MISSED) => return,
                () = sleep_until(next) => {
                    let beat = own::HoldRequest { request: Some(Say::Heartbeat(own::Heartbeat {})) };
                    // One that has no room is behind one that has not gone yet.
                    let _ = self.requests.try_send(beat);
                    next = Instant::now() + every;
                }
            }
        }
    }

    /// The same lease once the daemon, or its successor, can be reached again; for as long as that may take.
    pub(super) async fn resumed(&self, connection: &Connection) -> Result<Self, Error> {
        let (mut pause, longest) = PAUSES;
        loop {
            // What has lost the lease may be a connection whose other end is gone: nothing would ever come of it.
            connection.forget().await;
            match timeout(ATTEMPT, self.resumed_now(connection)).await {
                Ok(Err(error)) if is_final(&error) => return Err(error),
                Ok(Ok(hold)) => return Ok(hold),
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn resumed_now(&self, connection: &Connection) -> Result<Self, Error> {
        let (token, heartbeat_seconds) = (self.token.as_text(), seconds(self.heartbeat));
        let resume = Say::Resume(own::Resume { token, heartbeat_seconds });
        Self::begin(&connection.running_client().await?, resume, self.heartbeat).await
    }
}

/// A heartbeat as it is asked for; 0 for none.
fn seconds(heartbeat: Option<Duration>) -> u32 {
    heartbeat.map_or(0, |every| u32::try_from(every.as_secs()).unwrap_or(u32::MAX))
}

/// Whether asking again cannot help.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::LeaseInvalid | ErrorKind::Authentication | ErrorKind::Unsupported | ErrorKind::Validation
    )
}

/// What this program is called, and where it runs.
fn label() -> String {
    let name = std::env::current_exe().ok();
    let name = name.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    format!("{:.100} at {host:.100}", name.unwrap_or_else(|| "a program".into()))
}

/// The heartbeat that is asked for: by the caller, else by the environment.
pub(crate) fn heartbeat(asked: Option<Duration>) -> Result<Option<Duration>, Error> {
    let text = match asked {
        Some(asked) => asked.as_secs().to_string(),
        None => std::env::var(HEARTBEAT_VARIABLE).unwrap_or_default(),
    };
    parse_heartbeat(&text)
}

fn parse_heartbeat(text: &str) -> Result<Option<Duration>, Error> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    match text.parse() {
        Ok(seconds) if HEARTBEATS.contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
        _ => {
            let accepted = format!("0 for none, or {} to {} seconds", HEARTBEATS.start(), HEARTBEATS.end());
            Err(Invalid::new(HEARTBEAT_VARIABLE, format!("{text:?} is out of range"), accepted).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_no_daemon_would_take_is_refused_by_name() {
        assert_eq!(parse_heartbeat("").unwrap(), None);
        assert_eq!(parse_heartbeat("0").unwrap(), None);
        assert_eq!(parse_heartbeat("30").unwrap(), Some(Duration::from_secs(30)));
        for text in ["4", "3601", "-1", "soon", "1.5"] {
            let error = parse_heartbeat(text).unwrap_err();
            assert!(error.to_string().contains(HEARTBEAT_VARIABLE), "{error}");
        }
    }
}
