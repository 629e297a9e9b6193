//! Events: what happens to the caller's sandboxes, as a stream that holds nobody up.

use ebbtide_control::{EventFilter, EventItem, EventKind, Events, SandboxEvent};
use ebbtide_model::Invalid;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::timestamp;
use futures::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::ebbtide::Ebbtide;
use crate::ending::Ending;
use crate::errors;

/// Answers with the events that are kept, and where it is asked for with those that come.
///
/// They are pulled by the connection: a client that does not read keeps its place in the ring and nothing else.
pub(crate) fn stream(
    ebbtide: &Ebbtide,
    request: Request<own::EventsRequest>,
) -> Result<Response<BoxStream<own::Event>>, Status> {
    let caller = Caller::from_request(&request)?;
    let own::EventsRequest { follow, since_sequence, sandbox_id, tags } = request.into_inner();
    let sandbox = match sandbox_id.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|refused: Invalid| {
            errors::invalid(Invalid { field: "sandbox_id".to_owned(), ..refused })
        })?),
    };
    let filter = EventFilter { since: since_sequence, sandbox, tags };
    let reading = Reading {
        events: ebbtide.control.events(&caller.principal, filter),
        follow,
        ending: Some(ebbtide.ending.clone()),
    };
    let events = stream::unfold(reading, |mut reading| async { Some((reading.next().await?, reading)) });
    Ok(Response::new(Box::pin(events)))
}

struct Reading {
    events: Events,
    follow: bool,
    /// `None` once the client was told that it is over.
    ending: Option<Ending>,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<own::Event, Status>> {
        let ending = self.ending.as_mut()?;
        if !self.follow {
            return self.events.try_next().map(|item| Ok(message(&item)));
        }
        tokio::select! {
            // What has happened before the end is told before it.
            biased;
            item = self.events.next() => Some(Ok(message(&item))),
            () = ending.begun() => {
                self.ending = None;
                Some(Err(errors::ending()))
            }
        }
    }
}

fn message(item: &EventItem) -> own::Event {
    let event = match item {
        EventItem::Event(event) => event,
        EventItem::Missed(missed) => {
            let kind = own::EventKind::Missed.into();
            return own::Event { kind, missed: *missed, ..Default::default() };
        }
    };
    let SandboxEvent { sequence, at, sandbox, principal, tags, kind, message } = event.as_ref();
    own::Event {
        sequence: *sequence,
        time: Some(timestamp(*at)),
        kind: kind_message(*kind).into(),
        sandbox_id: sandbox.to_string(),
        principal: principal.to_string(),
        tags: tags.to_vec(),
        reason: kind.reason().to_owned(),
        message: message.clone(),
        exit_code: kind.exit_code(),
        missed: None,
    }
}

fn kind_message(kind: EventKind) -> own::EventKind {
    match kind {
        EventKind::Created => own::EventKind::Created,
        EventKind::Preparing => own::EventKind::Preparing,
        EventKind::Running => own::EventKind::Running,
        EventKind::Stopping(_) => own::EventKind::Stopping,
        EventKind::Stopped { .. } => own::EventKind::Stopped,
        EventKind::Failed(_) => own::EventKind::Failed,
        EventKind::Paused(_) => own::EventKind::Paused,
        EventKind::Resumed => own::EventKind::Resumed,
        EventKind::Orphaned(_) => own::EventKind::Orphaned,
        EventKind::Adopted => own::EventKind::Adopted,
        EventKind::Kept => own::EventKind::Kept,
        EventKind::Reconciled(_) => own::EventKind::Reconciled,
        _ => own::EventKind::Unspecified,
    }
}
