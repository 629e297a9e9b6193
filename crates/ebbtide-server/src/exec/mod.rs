//! StreamExec: a command's input and output as frames.
//!
//! The output is pulled by the connection itself: no task and no queue lies between the driver and HTTP/2's
//! window, so a client that does not read stops the command from writing. Input has a task of its own, since a
//! command that does not read must not stop its output. Both belong to the answer's stream: when that is
//! dropped (the client cancelled, died, or its deadline is over), the command ends.

mod input;
mod unary;

use std::time::{Duration, SystemTime};

use ebbtide_control::ControlError;
use ebbtide_driver::{DriverError, ExecEvent, ExecEvents, ExecRequest};
use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::{exec_command, timestamp};
use futures::stream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use wire::exec_stream_output::Stream;
use wire::exec_stream_request::Message as Input;
use wire::exec_stream_response::Message as Output;

use input::{Feed, Messages, refused};
pub(crate) use unary::unary;

use crate::caller::Caller;
use crate::ending::Ending;
use crate::errors;
use crate::sandboxes::Sandboxes;

/// How long a client may take to say what it wants.
const INIT: Duration = Duration::from_secs(30);

type Frame = Result<wire::ExecStreamResponse, Status>;

/// Starts the command that the first message names, and streams what it does.
pub(crate) async fn stream(
    sandboxes: &Sandboxes,
    request: Request<Streaming<wire::ExecStreamRequest>>,
) -> Result<Response<BoxStream<wire::ExecStreamResponse>>, Status> {
    let caller = Caller::from_request(&request)?;
    let mut messages = Messages::new(request.into_inner());
    let mut init = match timeout(INIT, messages.next()).await {
        Ok(Ok(Some(Input::Init(init)))) => init,
        Ok(Err(status)) => return Err(status),
        Ok(Ok(_)) | Err(_) => return Err(refused("init", "is not the first message", "init first")),
    };
    let id = std::mem::take(&mut init.sandbox_id);
    sandboxes.check_container(&caller, &id, &init.container).await.map_err(errors::control)?;
    let (command, terminal) = exec_command(init).map_err(errors::invalid)?;
    // Whether there will be input cannot be known yet; without any the client closes its side soon.
    let request = ExecRequest { command, stdin: true, terminal };
    let exec = match sandboxes.control.exec(&caller.principal, &id, request).await {
        Ok(exec) => exec,
        Err(ControlError::Driver(error)) if start_error(&error).is_some() => {
            let code = start_error(&error).unwrap_or_default().to_owned();
            let frame = frame(Output::Error(wire::ExecStreamError { message: error.to_string(), code }));
            return Ok(Response::new(Box::pin(stream::iter([Ok(frame)]))));
        }
        Err(error) => return Err(errors::control(error)),
    };
    let mut tasks = JoinSet::new();
    let feed = Feed { messages, stdin: exec.stdin, control: exec.control, terminal: terminal.is_some() };
    tasks.spawn(feed.run().in_current_span());
    let running = Running {
        events: exec.events,
        input: tasks,
        ending: sandboxes.ending.clone(),
        phase: Phase::Started,
    };
    let frames = stream::unfold(running, |mut running| async { Some((running.next().await?, running)) });
    Ok(Response::new(Box::pin(frames)))
}

/// What the client is told if the command could not be started, though the sandbox runs.
fn start_error(error: &DriverError) -> Option<&'static str> {
    match error {
        DriverError::CommandNotFound { .. } => Some("COMMAND_NOT_FOUND"),
        DriverError::CommandNotExecutable { .. } => Some("COMMAND_NOT_EXECUTABLE"),
        DriverError::WorkingDirectory { .. } => Some("WORKING_DIRECTORY"),
        _ => None,
    }
}

fn frame(message: Output) -> wire::ExecStreamResponse {
    wire::ExecStreamResponse { message: Some(message) }
}

#[derive(PartialEq, Eq)]
enum Phase {
    Started,
    Running,
    Over,
}

/// A command that runs. Dropping it ends the command.
struct Running {
    events: Box<dyn ExecEvents>,
    /// The task that feeds the command, ended with this.
    input: JoinSet<Result<(), Status>>,
    ending: Ending,
    phase: Phase,
}

impl Running {
    /// The next frame for the client; `None` after the last.
    async fn next(&mut self) -> Option<Frame> {
        match self.phase {
            Phase::Over => return None,
            Phase::Started => {
                self.phase = Phase::Running;
                let ready = wire::ExecStreamReady { ready_time: Some(timestamp(SystemTime::now())) };
                return Some(Ok(frame(Output::Ready(ready))));
            }
            Phase::Running => {}
        }
        let event = loop {
            tokio::select! {
                biased;
                event = self.events.next() => break event.map_err(errors::driver),
                Some(fed) = self.input.join_next() => match fed {
                    Ok(Ok(())) => {}
                    Ok(Err(status)) => break Err(status),
                    Err(error) => break Err(errors::internal(&format!("the input was cut off: {error}"))),
                },
                () = self.ending.begun() => break Err(errors::ending()),
            }
        };
        let message = match event {
            Ok(ExecEvent::Stdout(data)) => output(Stream::Stdout, data),
            Ok(ExecEvent::Stderr(data)) => output(Stream::Stderr, data),
            Ok(ExecEvent::Exit(status)) => {
                self.phase = Phase::Over;
                let completed_time = Some(timestamp(SystemTime::now()));
                Output::Exit(wire::ExecStreamExit { exit_code: status.code(), completed_time })
            }
            Err(status) => {
                self.phase = Phase::Over;
                return Some(Err(status));
            }
        };
        Some(Ok(frame(message)))
    }
}

fn output(stream: Stream, data: Vec<u8>) -> Output {
    Output::Output(wire::ExecStreamOutput { stream: stream.into(), data: Bytes::from(data) })
}
