//! StreamExec: any messages in any order, at any pace. Whatever comes in, what goes out is in order: `ready`, output,
//! and one `exit` or `error` as the last.

use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use fastrand::Rng;
use prost_reflect::prost::Message as _;
use tokio::time::sleep;
use wire::exec_stream_request::Message as Input;
use wire::exec_stream_response::Message as Output;

use crate::call::{Answer, framed};
use crate::message::Maker;
use crate::world::World;

const PATHS: [&str; 2] = [
    "/coreweave.sandbox.v1.SandboxService/StreamExec",
    "/coreweave.sandbox.v1.SandboxDataPlaneService/StreamExec",
];
/// Commands that read, do not, write much, nothing, end by themselves and never, or are not there.
const COMMANDS: [&[&str]; 9] = [
    &["cat"],
    &["true"],
    &["sleep", "1000"],
    &["seq", "1", "300000"],
    &["sh", "-c", "head -c 10; exit 7"],
    &["sh", "-c", "trap '' TERM HUP INT; cat >&2; sleep 1000"],
    &["sh", "-c", "stty size; read line; echo \"$line\""],
    &["no-such-program"],
    &[],
];

enum Step {
    Send(Vec<u8>),
    Rest(Duration),
}

pub(crate) async fn run(world: &World, rng: &mut Rng) {
    let target = world.target().await;
    let mut connection = world.connection().await;
    let steps: Vec<Step> = (0..rng.u8(0..12)).map(|at| step(world, rng, at, &target)).collect();
    let (upload, pending) = connection.begin(PATHS[usize::from(rng.u8(0..20) == 0)], rng);
    let keep_open = rng.bool();
    let send = async move {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    if !upload.send(bytes).await {
                        return None;
                    }
                }
                Step::Rest(time) => sleep(time).await,
            }
        }
        keep_open.then_some(upload)
    };
    if rng.u8(0..8) == 0 {
        let patience = Duration::from_millis(rng.u64(0..200));
        let _ = tokio::time::timeout(patience, async { tokio::join!(send, pending.finish()) }).await;
        return;
    }
    let (answer, _upload) = tokio::join!(pending.finish(), send);
    check(&answer);
}

fn step(world: &World, rng: &mut Rng, at: u8, target: &str) -> Step {
    // Mostly what makes sense first, so that there is something that the rest can happen to.
    let message = match if at == 0 && rng.u8(0..5) > 0 { 0 } else { rng.u8(0..10) } {
        0 => Some(Input::Init(init(rng, target))),
        1..4 => Some(Input::Stdin(Maker { rng, ids: &[] }.data().into())),
        4 => Some(Input::Close(wire::ExecStreamClose {})),
        5 => Some(Input::Resize(wire::ExecStreamResize { width: rng.u32(..), height: rng.u32(0..200) })),
        6 => None,
        7 => {
            let ids = [target.to_owned()];
            let bytes = Maker { rng, ids: &ids }.bytes(&world.schema.message("ExecStreamRequest"));
            return Step::Send(framed(&bytes));
        }
        _ => return Step::Rest(Duration::from_millis(rng.u64(0..40))),
    };
    Step::Send(framed(&wire::ExecStreamRequest { message }.encode_to_vec()))
}

fn init(rng: &mut Rng, target: &str) -> wire::ExecStreamInit {
    let command = COMMANDS[rng.usize(0..COMMANDS.len())];
    let tty = rng.u8(0..3) == 0;
    wire::ExecStreamInit {
        sandbox_id: target.to_owned(),
        command: command.iter().map(ToString::to_string).collect(),
        tty,
        tty_width: if tty { rng.u32(0..300) } else { 0 },
        tty_height: if tty { rng.u32(0..300) } else { 0 },
        ..Default::default()
    }
}

/// What holds for every answer, whatever was asked.
fn check(answer: &Answer) {
    let messages: Vec<Output> = answer
        .messages
        .iter()
        .map(|bytes| {
            wire::ExecStreamResponse::decode(bytes.as_ref()).expect("a message").message.expect("a frame")
        })
        .collect();
    let is_last = |message: &Output| matches!(message, Output::Exit(_) | Output::Error(_));
    let ends = messages.iter().filter(|message| is_last(message)).count();
    assert!(ends <= 1 && messages.iter().rev().skip(1).all(|message| !is_last(message)), "an end comes last");
    let ready = messages.iter().skip(1).all(|message| !matches!(message, Output::Ready(_)));
    assert!(ready, "ready comes first");
    let status = answer.status;
    assert!(status.is_some(), "the call was cut off after {} messages", messages.len());
    assert_eq!(
        ends == 1,
        status == Some(0),
        "a command's end ends the call well, and nothing else: {status:?}"
    );
}
