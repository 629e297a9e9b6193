//! StreamExec.

use std::time::Duration;

use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use wire::exec_stream_request::Message as Input;
use wire::exec_stream_response::Message as Output;

use crate::daemon::{Client, Daemon, SOON, field, reason};

#[derive(Debug)]
pub(crate) struct Running {
    /// `None` once the client has closed its side.
    pub(crate) input: Option<mpsc::Sender<wire::ExecStreamRequest>>,
    pub(crate) output: Streaming<wire::ExecStreamResponse>,
}

impl Running {
    pub(crate) async fn send(&self, message: Input) {
        self.input.as_ref().unwrap().send(request(message)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Output>, Status> {
        let message = timeout(SOON, self.output.message()).await.expect("the command does something")?;
        Ok(message.map(|response| response.message.unwrap()))
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn finish(&mut self) -> Finished {
        let mut finished = Finished::default();
        while let Some(message) = self.next().await.unwrap() {
            assert_eq!(finished.exit, None, "an exit comes last");
            match message {
                Output::Ready(_) => {
                    assert_eq!(finished.frames, 0, "ready comes first");
                }
                Output::Output(output) => match output.stream() {
                    wire::exec_stream_output::Stream::Stderr => finished.stderr.extend(output.data),
                    _ => finished.stdout.extend(output.data),
                },
                Output::Exit(exit) => finished.exit = Some(exit.exit_code),
                Output::Error(error) => panic!("{error:?}"),
            }
            finished.frames += 1;
        }
        finished
    }

    /// The process id that the command prints first.
    pub(crate) async fn pid(&mut self) -> String {
        assert!(matches!(self.next().await, Ok(Some(Output::Ready(_)))));
        match self.next().await {
            Ok(Some(Output::Output(output))) => {
                String::from_utf8(output.data.to_vec()).unwrap().trim().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Finished {
    frames: usize,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: Option<i32>,
}

pub(crate) fn request(message: Input) -> wire::ExecStreamRequest {
    wire::ExecStreamRequest { message: Some(message) }
}

pub(crate) fn init(id: &str, argv: &[&str]) -> wire::ExecStreamInit {
    let command = argv.iter().map(ToString::to_string).collect();
    wire::ExecStreamInit { sandbox_id: id.to_owned(), command, ..Default::default() }
}

pub(crate) async fn open(client: &mut Client, first: Input) -> Result<Running, Status> {
    let (input, queue) = mpsc::channel(8);
    input.send(request(first)).await.unwrap();
    let output = client.sandboxes.stream_exec(ReceiverStream::new(queue)).await?.into_inner();
    Ok(Running { input: Some(input), output })
}

pub(crate) async fn start(client: &mut Client, id: &str, argv: &[&str]) -> Result<Running, Status> {
    open(client, Input::Init(init(id, argv))).await
}

/// Runs a command without input, as a client that closes its side at once.
pub(crate) async fn run(client: &mut Client, id: &str, argv: &[&str]) -> Finished {
    let mut running = start(client, id, argv).await.unwrap();
    running.input = None;
    running.finish().await
}

/// Waits until a process is gone.
pub(crate) async fn gone(client: &mut Client, id: &str, pid: &str) {
    let dies = async {
        while run(client, id, &["kill", "-0", pid]).await.exit == Some(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, dies).await.expect("the command ends");
}

#[tokio::test]
async fn ready_comes_first_output_in_one_piece_and_exit_last() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["echo", "hello"]).await.unwrap();
    running.input = None;
    assert!(matches!(running.next().await, Ok(Some(Output::Ready(_)))));
    assert!(matches!(running.next().await, Ok(Some(Output::Output(o))) if o.data == "hello\n"));
    assert!(matches!(running.next().await, Ok(Some(Output::Exit(exit))) if exit.exit_code == 0));
    assert!(matches!(running.next().await, Ok(None)));
    let failing = run(&mut client, &id, &["sh", "-c", "echo oops >&2; exit 7"]).await;
    assert_eq!((failing.exit, failing.stderr.as_slice()), (Some(7), b"oops\n".as_slice()));
}

#[tokio::test]
async fn close_is_end_of_input() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["cat"]).await.unwrap();
    running.send(Input::Stdin("abc".into())).await;
    running.send(Input::Close(wire::ExecStreamClose {})).await;
    let finished = running.finish().await;
    assert_eq!((finished.stdout.as_slice(), finished.exit), (b"abc".as_slice(), Some(0)));
}

#[tokio::test]
async fn a_client_that_closes_its_side_ends_the_input_and_not_the_command() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let finished = run(&mut client, &id, &["sh", "-c", "cat; sleep 0.3; echo done"]).await;
    assert_eq!((finished.stdout.as_slice(), finished.exit), (b"done\n".as_slice(), Some(0)));
}

#[tokio::test]
async fn an_exit_does_not_wait_for_the_client_to_close_its_side() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["true"]).await.unwrap();
    assert_eq!(running.finish().await.exit, Some(0));
    drop(running.input);
}

#[tokio::test]
async fn a_large_input_comes_back_whole() {
    const SIZE: usize = 20 << 20;
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let data: Bytes = (0..SIZE).map(|n| (n * 31 + n / 251) as u8).collect::<Vec<_>>().into();
    let mut running = start(&mut client, &id, &["cat"]).await.unwrap();
    let input = running.input.take().unwrap();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        for at in (0..SIZE).step_by(64 << 10) {
            input.send(request(Input::Stdin(sent.slice(at..SIZE.min(at + (64 << 10)))))).await.unwrap();
        }
    });
    let finished = running.finish().await;
    writer.await.unwrap();
    assert_eq!(finished.exit, Some(0));
    assert!(finished.stdout == data, "{} bytes came back", finished.stdout.len());
}

#[tokio::test]
async fn a_command_that_reads_nothing_stops_neither_its_output_nor_its_exit() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["sh", "-c", "sleep 0.2; echo out; exit 3"]).await.unwrap();
    let input = running.input.take().unwrap();
    let writer = tokio::spawn(async move {
        let chunk = Bytes::from(vec![0; 64 << 10]);
        while input.send(request(Input::Stdin(chunk.clone()))).await.is_ok() {}
    });
    let finished = running.finish().await;
    assert_eq!((finished.stdout.as_slice(), finished.exit), (b"out\n".as_slice(), Some(3)));
    timeout(SOON, writer).await.expect("the writer hears of it").unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_command() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let script = "seq 1 5000000; echo x > /tmp/written";
    let mut running = start(&mut client, &id, &["sh", "-c", script]).await.unwrap();
    running.input = None;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let written = ["test", "-e", "/tmp/written"];
    assert_eq!(run(&mut client, &id, &written).await.exit, Some(1), "38 MB lie in memory");
    let finished = running.finish().await;
    assert_eq!((finished.exit, finished.stdout.len()), (Some(0), 38_888_896));
    assert_eq!(run(&mut client, &id, &written).await.exit, Some(0));
}

#[tokio::test]
async fn a_cancelled_call_ends_its_command() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["sh", "-c", "echo $$; sleep 1000"]).await.unwrap();
    let pid = running.pid().await;
    assert_eq!(run(&mut client, &id, &["kill", "-0", &pid]).await.exit, Some(0));
    drop(running);
    gone(&mut client, &id, &pid).await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_command_along() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let pid = {
        let mut other = daemon.client().await;
        let mut running = start(&mut other, &id, &["sh", "-c", "echo $$; sleep 1000"]).await.unwrap();
        running.pid().await
    };
    gone(&mut client, &id, &pid).await;
}

#[tokio::test]
async fn a_deadline_ends_the_command_with_a_typed_error() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    run(&mut client, &id, &["true"]).await;
    let (input, queue) = mpsc::channel(1);
    input.send(request(Input::Init(init(&id, &["sh", "-c", "echo $$; sleep 1000"])))).await.unwrap();
    let mut call = Request::new(ReceiverStream::new(queue));
    call.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let output = client.sandboxes.stream_exec(call).await.unwrap().into_inner();
    let mut running = Running { input: Some(input), output };
    let pid = running.pid().await;
    let late = running.next().await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "CWSANDBOX_COMMAND_TIMEOUT"));
    gone(&mut client, &id, &pid).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_an_error_frame() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    for (program, code) in [("no-such-program", "COMMAND_NOT_FOUND"), ("/tmp", "COMMAND_NOT_EXECUTABLE")] {
        let mut running = start(&mut client, &id, &[program]).await.unwrap();
        match running.next().await {
            Ok(Some(Output::Error(error))) => {
                assert_eq!(error.code, code);
                assert!(error.message.contains(program));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(running.next().await, Ok(None)));
    }
}

#[tokio::test]
async fn nothing_runs_in_a_sandbox_that_has_ended() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    client.delete(&id).await.unwrap();
    client.wait(&id).await.unwrap();
    let refused = start(&mut client, &id, &["true"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "CWSANDBOX_SANDBOX_NOT_RUNNING");
}

#[tokio::test]
async fn a_stop_ends_what_runs_in_the_sandbox() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["sleep", "1000"]).await.unwrap();
    client.delete(&id).await.unwrap();
    assert_eq!(running.finish().await.exit, Some(137));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let good = || init(&id, &["true"]);
    for (first, name, expected) in [
        (Input::Stdin("x".into()), "init", "CWSANDBOX_INVALID_REQUEST"),
        (Input::Init(init(&id, &[])), "command", "CWSANDBOX_INVALID_REQUEST"),
        (Input::Init(init(&id, &["a\0b"])), "command[0]", "CWSANDBOX_INVALID_REQUEST"),
        (
            Input::Init(wire::ExecStreamInit { container: "other".into(), ..good() }),
            "container",
            "CWSANDBOX_INVALID_REQUEST",
        ),
    ] {
        let refused = open(&mut client, first).await.unwrap_err();
        assert_eq!((reason(&refused).as_str(), field(&refused).as_str()), (expected, name));
    }
    let named = wire::ExecStreamInit { container: "main".into(), ..good() };
    assert_eq!(open(&mut client, Input::Init(named)).await.unwrap().finish().await.exit, Some(0));
    let resize = Input::Resize(wire::ExecStreamResize { width: 1, height: 1 });
    for (second, name) in [(Input::Init(good()), "init"), (resize, "resize")] {
        let mut running = start(&mut client, &id, &["sleep", "1000"]).await.unwrap();
        running.send(second).await;
        assert!(matches!(running.next().await, Ok(Some(Output::Ready(_)))));
        assert_eq!(field(&running.next().await.unwrap_err()), name);
    }
}

/// Each of these calls ends while the client still writes, which HTTP/2 takes for misbehaviour if it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_bears_any_number_of_commands_that_end_before_their_input() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let callers = (0..16).map(|_| {
        let (mut client, id) = (client.clone(), id.clone());
        tokio::spawn(async move {
            for _ in 0..500 {
                let mut running = start(&mut client, &id, &["true"]).await.unwrap();
                let input = running.input.take().unwrap();
                let writer = tokio::spawn(async move {
                    let chunk = Bytes::from_static(&[0; 512]);
                    while input.send(request(Input::Stdin(chunk.clone()))).await.is_ok() {}
                });
                assert_eq!(running.finish().await.exit, Some(0));
                drop(running);
                writer.await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn commands_that_read_nothing_hold_up_no_other_call() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut running = start(&mut client, &id, &["sleep", "1000"]).await.unwrap();
        let input = running.input.take().unwrap();
        let chunk = Bytes::from(vec![0; 64 << 10]);
        let write = async { while input.send(request(Input::Stdin(chunk.clone()))).await.is_ok() {} };
        assert!(timeout(Duration::from_millis(100), write).await.is_err(), "the input is bounded");
        stuck.push((running, input));
    }
    let mut running = start(&mut client, &id, &["cat"]).await.unwrap();
    running.send(Input::Stdin(vec![b'x'; 2 << 20].into())).await;
    running.input = None;
    assert_eq!(running.finish().await.stdout.len(), 2 << 20);
}

#[tokio::test]
async fn a_server_that_ends_says_so_to_those_whose_command_it_ends() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = start(&mut client, &id, &["sleep", "1000"]).await.unwrap();
    assert!(matches!(running.next().await, Ok(Some(Output::Ready(_)))));
    let Daemon { task, tell, control: _control, .. } = daemon;
    tell.send(()).unwrap();
    let cut_off = running.next().await.unwrap_err();
    assert_eq!(
        (cut_off.code(), reason(&cut_off).as_str()),
        (Code::Unavailable, "CWSANDBOX_BACKEND_UNAVAILABLE")
    );
    timeout(SOON, task).await.unwrap().unwrap();
}
