//! StreamExec with a terminal.

use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tonic::Code;
use wire::exec_stream_request::Message as Input;
use wire::exec_stream_response::Message as Output;

use crate::daemon::{Client, Daemon, field, reason};
use crate::exec::{Running, gone, init, open, start};

const SHOW_NEW_SIZE: &str = "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done";
/// A new size must not be waited for longer than any input is.
const MANY: usize = 1 << 20;

async fn terminal(client: &mut Client, id: &str, argv: &[&str], size: (u32, u32)) -> Running {
    let size = wire::ExecStreamInit { tty: true, tty_width: size.0, tty_height: size.1, ..init(id, argv) };
    open(client, Input::Init(size)).await.unwrap()
}

fn resize(width: u32, height: u32) -> Input {
    Input::Resize(wire::ExecStreamResize { width, height })
}

const CLOSE: Input = Input::Close(wire::ExecStreamClose {});

impl Running {
    /// Reads until the terminal shows this.
    async fn shows(&mut self, words: &str) {
        let mut shown = String::new();
        while !shown.contains(words) {
            match self.next().await {
                Ok(Some(Output::Output(output))) => shown += &String::from_utf8_lossy(&output.data),
                Ok(Some(Output::Ready(_))) => {}
                other => panic!("{other:?} after {shown:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_terminal_has_its_size_and_takes_a_new_one() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    for (size, shown) in [((100, 30), "30 100\r\n"), ((0, 0), "24 80\r\n")] {
        let mut running = terminal(&mut client, &id, &["sh", "-c", SHOW_NEW_SIZE], size).await;
        running.shows(shown).await;
        running.send(resize(77, 22)).await;
        running.shows("22 77\r\n").await;
        assert_eq!(running.finish().await.exit, Some(0));
    }
}

#[tokio::test]
async fn a_new_size_does_not_wait_for_input_that_nobody_reads() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = terminal(&mut client, &id, &["sh", "-c", SHOW_NEW_SIZE], (1, 2)).await;
    running.shows("2 1\r\n").await;
    running.send(Input::Stdin("line\r".repeat(MANY / 5).into())).await;
    running.send(resize(77, 22)).await;
    running.shows("22 77\r\n").await;
    assert_eq!(running.finish().await.exit, Some(0));
}

#[tokio::test]
async fn a_terminal_shows_what_is_typed_and_all_that_is_written_on_one_stream() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = terminal(&mut client, &id, &["sh", "-c", "echo oops >&2; cat"], (0, 0)).await;
    running.send(Input::Stdin("typed\r\x04".into())).await;
    let finished = running.finish().await;
    assert!(finished.stderr.is_empty());
    let shown = String::from_utf8(finished.stdout).unwrap();
    for part in ["oops\r\n", "typed\r\ntyped\r\n"] {
        assert!(shown.contains(part), "{shown:?}");
    }
}

#[tokio::test]
async fn close_and_a_closed_side_end_the_input_of_a_terminal() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    for (typed, close) in [("line\r", true), ("half a line", true), ("", false)] {
        let mut running = terminal(&mut client, &id, &["cat"], (0, 0)).await;
        running.send(Input::Stdin(typed.into())).await;
        if close {
            running.send(CLOSE).await;
        } else {
            running.input = None;
        }
        let finished = running.finish().await;
        assert_eq!((finished.exit, finished.stdout.len()), (Some(0), typed.replace('\r', "\r\n").len() * 2));
    }
}

#[tokio::test]
async fn a_new_size_is_taken_after_the_end_of_the_input() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut running = terminal(&mut client, &id, &["sh", "-c", SHOW_NEW_SIZE], (1, 2)).await;
    running.shows("2 1\r\n").await;
    running.send(CLOSE).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.send(resize(77, 22)).await;
    running.shows("22 77\r\n").await;
}

#[tokio::test]
async fn a_stream_that_goes_hangs_its_terminal_up() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let script = "trap 'echo x > /tmp/hung-up; exit 0' HUP; echo $$; while :; do sleep 0.05; done";
    let mut running = terminal(&mut client, &id, &["sh", "-c", script], (0, 0)).await;
    let pid = running.pid().await;
    drop(running);
    gone(&mut client, &id, &pid).await;
    let mut marked = start(&mut client, &id, &["test", "-e", "/tmp/hung-up"]).await.unwrap();
    assert_eq!(marked.finish().await.exit, Some(0));
}

#[tokio::test]
async fn sizes_that_no_terminal_has_are_refused_by_name() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let good = || init(&id, &["sleep", "1000"]);
    for (first, name) in [
        (wire::ExecStreamInit { tty: true, tty_width: 65_536, ..good() }, "init.tty_width"),
        (wire::ExecStreamInit { tty: true, tty_height: u32::MAX, ..good() }, "init.tty_height"),
        (wire::ExecStreamInit { tty_width: 80, ..good() }, "init.tty_width"),
        (wire::ExecStreamInit { tty_height: 24, ..good() }, "init.tty_height"),
    ] {
        let refused = open(&mut client, Input::Init(first)).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, name));
        assert_eq!(reason(&refused), "CWSANDBOX_INVALID_REQUEST");
    }
    for (size, name) in [
        (resize(0, 1), "resize.width"),
        (resize(1, 0), "resize.height"),
        (resize(1, 1 << 20), "resize.height"),
    ] {
        let mut running = terminal(&mut client, &id, &["sleep", "1000"], (0, 0)).await;
        running.send(size).await;
        assert!(matches!(running.next().await, Ok(Some(Output::Ready(_)))));
        assert_eq!(field(&running.next().await.unwrap_err()), name);
    }
}
