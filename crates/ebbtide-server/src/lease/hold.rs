//! One lease, held for as long as its stream is open.
//!
//! The client's messages are read by a task beside the answer: the connection pulls an answer only while its client
//! reads, and an owner that does not read is no less there. No HTTP/2 pings, and no heartbeats unless the client asks
//! for them: an owner that a debugger has stopped answers none and is alive.

use std::future::pending;
use std::time::Duration;

use ebbtide_control::{Control, HeldLease};
use ebbtide_model::Invalid;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::hold_request::Request as Wish;
use ebbtide_proto::ebbtide::v1::hold_response::Response as Answer;
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::caller::Caller;
use crate::ending::Ending;
use crate::errors;

/// How long a client has to say which lease it means.
const FIRST: Duration = Duration::from_secs(10);
/// The heartbeats that may be asked for.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u32> = 5..=3600;
/// A daemon that runs hears within this that a time has come.
const LATE: Duration = Duration::from_secs(1);
/// How many of them may be missing.
const MISSED: u32 = 3;
/// Answers that wait for a client that does not read. Further ones are not sent: all they say is that we are there.
const WAITING: usize = 4;

pub(super) async fn hold(
    control: &Control,
    ending: Ending,
    request: Request<Streaming<own::HoldRequest>>,
) -> Result<Response<BoxStream<own::HoldResponse>>, Status> {
    let caller = Caller::from_request(&request)?;
    let place = caller.lease_place().map_err(errors::invalid)?;
    let mut wishes = request.into_inner();
    let first = timeout(FIRST, wishes.message()).await;
    let first = first.map_err(|_| not_first("came too late"))??;
    let (principal, process) = (&caller.principal, caller.process);
    let (held, heartbeat) = match first.and_then(|message| message.request) {
        Some(Wish::Open(own::Open { label, heartbeat_seconds })) => {
            let heartbeat = heartbeat("open.heartbeat_seconds", heartbeat_seconds)?;
            (control.open_lease(principal, process, &label), heartbeat)
        }
        Some(Wish::Resume(own::Resume { token, heartbeat_seconds })) => {
            let heartbeat = heartbeat("resume.heartbeat_seconds", heartbeat_seconds)?;
            (control.resume_lease(principal, process, &token).await, heartbeat)
        }
        Some(Wish::Heartbeat(_) | Wish::Release(_)) | None => return Err(not_first("is of another kind")),
    };
    let held = held.map_err(errors::control)?;
    let (answers, answered) = mpsc::channel(WAITING);
    let first = own::Held {
        lease_id: held.id().to_string(),
        token: held.token().expose().to_owned(),
        local: held.is_local(),
        grace_seconds: u32::try_from(held.grace().as_secs()).unwrap_or(u32::MAX),
    };
    let first = stream::iter([Ok(own::HoldResponse { response: Some(Answer::Held(first)) })]);
    let holding = Holding { wishes, answers, heartbeat, ending, _place: place };
    tokio::spawn(holding.until_over(held).in_current_span());
    let rest = stream::unfold(answered, |mut answered| async { Some((answered.recv().await?, answered)) });
    Ok(Response::new(Box::pin(stream::StreamExt::chain(first, rest))))
}

fn not_first(problem: &str) -> Status {
    errors::invalid(Invalid::new("request", problem, "open or resume, as the first message"))
}

/// The longest silence of a client that is to send heartbeats; `None` where it is not.
fn heartbeat(field: &str, seconds: u32) -> Result<Option<Duration>, Status> {
    if seconds == 0 {
        return Ok(None);
    }
    if !HEARTBEAT_SECONDS.contains(&seconds) {
        let (least, most) = (HEARTBEAT_SECONDS.start(), HEARTBEAT_SECONDS.end());
        let accepted = format!("0 for none, or {least} to {most}");
        return Err(errors::invalid(Invalid::new(field, format!("{seconds} is out of range"), accepted)));
    }
    Ok(Some(Duration::from_secs(seconds.into()) * MISSED))
}

struct Holding {
    wishes: Streaming<own::HoldRequest>,
    answers: mpsc::Sender<Result<own::HoldResponse, Status>>,
    heartbeat: Option<Duration>,
    ending: Ending,
    _place: OwnedSemaphorePermit,
}

/// How the holding of a lease is over.
enum Over {
    /// The stream is: the connection was lost, or the client has ended it.
    Lost,
    /// The owner has let it go.
    Released,
    /// The daemon goes.
    Daemon,
    /// The client does what it must not do, or does not send the heartbeats that it has promised.
    Refused(Status),
}

impl Holding {
    async fn until_over(mut self, held: HeldLease) {
        match self.over().await {
            // With the daemon go its connections, which says nothing of the owners.
            Over::Daemon => {
                held.leave();
                let _ = self.answers.try_send(Err(errors::ending()));
            }
            Over::Lost if self.ending.has_begun() => held.leave(),
            Over::Lost => drop(held),
            Over::Released => held.release(),
            Over::Refused(status) => {
                drop(held);
                let _ = self.answers.try_send(Err(status));
            }
        }
    }

    async fn over(&mut self) -> Over {
        loop {
            let due = self.heartbeat.map(|bound| Instant::now() + bound);
            let silence = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
                due.is_some_and(|due| due.elapsed() > LATE)
            };
            let message = tokio::select! {
                biased;
                () = self.ending.begun() => return Over::Daemon,
                () = self.answers.closed() => return Over::Lost,
                message = self.wishes.message() => message,
                // One that hears of it late has itself stood still, and has yet to read what came meanwhile.
                late = silence => if late {
                    continue;
                } else {
                    return Over::Refused(Status::deadline_exceeded("no heartbeat in time"));
                },
            };
            match message.map(|message| message.map(|message| message.request)) {
                Ok(Some(Some(Wish::Heartbeat(_)))) => {
                    let answer = Answer::Heartbeat(own::Heartbeat {});
                    let _ = self.answers.try_send(Ok(own::HoldResponse { response: Some(answer) }));
                }
                Ok(Some(Some(Wish::Release(_)))) => return Over::Released,
                Ok(None) | Err(_) => return Over::Lost,
                Ok(Some(Some(Wish::Open(_) | Wish::Resume(_)) | None)) => {
                    let accepted = "heartbeat or release, after the first message";
                    return Over::Refused(errors::invalid(Invalid::new(
                        "request",
                        "is of another kind",
                        accepted,
                    )));
                }
            }
        }
    }
}
