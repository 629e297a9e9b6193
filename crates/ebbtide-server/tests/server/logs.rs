//! StreamLogs.

use std::time::{Duration, SystemTime};

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, Streaming};

use crate::daemon::{Client, Daemon, SOON, field, reason, state};

/// A sandbox whose main command is this script.
async fn runs(client: &mut Client, script: &str) -> String {
    let argv = ["-c".to_owned(), script.to_owned()];
    let create = client.create(|_, container| {
        container.command = "sh".to_owned();
        container.args = argv.to_vec();
    });
    create.await.unwrap().sandbox_id
}

/// The same, when it has ended.
async fn ran(client: &mut Client, script: &str) -> String {
    let id = runs(client, script).await;
    client.wait(&id).await.unwrap();
    id
}

fn request(id: &str) -> wire::StreamLogsRequest {
    wire::StreamLogsRequest { sandbox_id: id.to_owned(), ..Default::default() }
}

async fn open(
    client: &mut Client,
    request: wire::StreamLogsRequest,
) -> Result<Streaming<wire::LogEntry>, Status> {
    client.sandboxes.stream_logs(request).await.map(tonic::Response::into_inner)
}

/// What a stream delivered, and with what it can be resumed.
#[derive(Debug, Default)]
struct Delivered {
    text: String,
    session: String,
    offset: u64,
    problem: String,
}

impl Delivered {
    fn add(&mut self, entry: wire::LogEntry) {
        if let Some(error) = entry.error {
            self.problem = error.code;
            return;
        }
        self.text.push_str(std::str::from_utf8(&entry.data).expect("characters are not cut"));
        assert!(!entry.data.is_empty() && !entry.log_session_id.is_empty() && entry.timestamp.is_some());
        assert_eq!(entry.next_log_offset, self.offset + entry.data.len() as u64, "each byte counts");
        assert!(self.session.is_empty() || self.session == entry.log_session_id, "a session has one id");
        (self.session, self.offset) = (entry.log_session_id, entry.next_log_offset);
    }

    fn resume(&self, id: &str) -> wire::StreamLogsRequest {
        wire::StreamLogsRequest {
            resume_log_session_id: self.session.clone(),
            resume_log_offset: self.offset,
            ..request(id)
        }
    }
}

async fn next(stream: &mut Streaming<wire::LogEntry>) -> Result<Option<wire::LogEntry>, Status> {
    timeout(SOON, stream.message()).await.expect("the stream goes on")
}

/// Everything up to the stream's end.
async fn all(client: &mut Client, request: wire::StreamLogsRequest) -> Delivered {
    let mut delivered = Delivered { offset: request.resume_log_offset, ..Delivered::default() };
    let mut stream = open(client, request).await.unwrap();
    while let Some(entry) = next(&mut stream).await.unwrap() {
        delivered.add(entry);
    }
    delivered
}

#[tokio::test]
async fn the_log_of_an_ended_sandbox_is_served_whole() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "echo one; echo two >&2; seq 1 100000; echo '-n€'").await;
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let expected = format!("one\ntwo\n{numbers}-n€\n");
    for follow in [false, true] {
        let delivered = all(&mut client, wire::StreamLogsRequest { follow, ..request(&id) }).await;
        assert!(delivered.text == expected, "{} bytes", delivered.text.len());
    }
}

#[tokio::test]
async fn a_follower_gets_each_line_when_it_is_written_and_ends_with_the_sandbox() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = runs(&mut client, "echo first; until test -e /tmp/go; do sleep 0.01; done; echo second").await;
    let mut stream =
        open(&mut client, wire::StreamLogsRequest { follow: true, ..request(&id) }).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().data, "first\n");
    let now = all(&mut client, request(&id)).await;
    assert_eq!(now.text, "first\n", "without follow a stream ends with what is there");
    crate::exec::run(&mut client, &id, &["sh", "-c", ": > /tmp/go"]).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap().data, "second\n");
    assert_eq!(next(&mut stream).await.unwrap(), None);
}

#[tokio::test]
async fn a_sandbox_that_says_nothing_ends_its_followers_when_it_ends() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    assert_eq!(all(&mut client, request(&id)).await.text, "");
    let mut stream =
        open(&mut client, wire::StreamLogsRequest { follow: true, ..request(&id) }).await.unwrap();
    let request = wire::DeleteSandboxRequest { sandbox_id: id.clone(), ..Default::default() };
    client.sandboxes.delete_sandbox(request).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), None);
}

#[tokio::test]
async fn tail_is_the_last_lines() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "seq 1 30000; echo last").await;
    for (tail_lines, expected) in [(1, "last\n"), (3, "29999\n30000\nlast\n")] {
        let tail = wire::StreamLogsRequest { tail_lines, ..request(&id) };
        assert_eq!(all(&mut client, tail).await.text, expected);
    }
    let whole = all(&mut client, request(&id)).await.text;
    for tail_lines in [30_001, 30_002, i32::MAX] {
        let tail = wire::StreamLogsRequest { tail_lines, ..request(&id) };
        assert!(all(&mut client, tail).await.text == whole, "{tail_lines}");
    }
    for tail_lines in [20_000, 30_000] {
        let tail = wire::StreamLogsRequest { tail_lines, ..request(&id) };
        assert_eq!(all(&mut client, tail).await.text.lines().count(), tail_lines as usize);
    }
}

#[tokio::test]
async fn since_leaves_out_what_is_older() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = runs(&mut client, "echo old; until test -e /tmp/go; do sleep 0.01; done; echo new").await;
    let mut stream =
        open(&mut client, wire::StreamLogsRequest { follow: true, ..request(&id) }).await.unwrap();
    next(&mut stream).await.unwrap();
    sleep(Duration::from_millis(5)).await;
    let since = |time: SystemTime| wire::StreamLogsRequest {
        since_time: Some(ebbtide_proto::timestamp(time)),
        ..request(&id)
    };
    let between = SystemTime::now();
    assert_eq!(all(&mut client, since(between)).await.text, "");
    crate::exec::run(&mut client, &id, &["sh", "-c", ": > /tmp/go"]).await;
    client.wait(&id).await.unwrap();
    assert_eq!(all(&mut client, since(between)).await.text, "new\n");
    assert_eq!(all(&mut client, since(SystemTime::UNIX_EPOCH)).await.text, "old\nnew\n");
    assert_eq!(all(&mut client, since(SystemTime::now())).await.text, "");
    let both = wire::StreamLogsRequest { tail_lines: 9, ..since(between) };
    assert_eq!(all(&mut client, both).await.text, "new\n");
}

#[tokio::test]
async fn timestamps_stand_before_each_line() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let before = jiff::Timestamp::now();
    let id = ran(&mut client, "echo one; echo; echo three").await;
    let stamped = wire::StreamLogsRequest { timestamps: true, ..request(&id) };
    let text = all(&mut client, stamped).await.text;
    let mut shown = Vec::new();
    for line in text.split_terminator('\n') {
        let (time, rest) = line.split_once(' ').unwrap();
        let time: jiff::Timestamp = time.parse().unwrap();
        assert!((before..=jiff::Timestamp::now()).contains(&time), "{time}");
        shown.push(rest);
    }
    assert_eq!(shown, ["one", "", "three"]);
}

#[tokio::test]
async fn a_stream_is_resumed_at_any_byte() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "echo zero; echo one; seq 1 20; echo two; seq 1 2000").await;
    for part in [
        request(&id),
        wire::StreamLogsRequest { timestamps: true, ..request(&id) },
        wire::StreamLogsRequest { tail_lines: 2_010, timestamps: true, ..request(&id) },
    ] {
        let whole = all(&mut client, part).await;
        let length = whole.text.len() as u64;
        let offsets = (0..60).chain((0..length).step_by(997)).chain(length - 40..=length);
        for resume_log_offset in offsets {
            let resume = wire::StreamLogsRequest { resume_log_offset, ..whole.resume(&id) };
            let rest = all(&mut client, resume).await;
            assert!(rest.text == whole.text[resume_log_offset as usize..], "after {resume_log_offset}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_is_told_in_the_stream() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "echo hello").await;
    let other = ran(&mut client, "echo other").await;
    let known = all(&mut client, request(&id)).await;
    let foreign = all(&mut client, request(&other)).await;
    let with = |session: &str, resume_log_offset| wire::StreamLogsRequest {
        resume_log_session_id: session.to_owned(),
        resume_log_offset,
        ..request(&id)
    };
    for session in
        ["nonsense", &foreign.session, &known.session.replace('0', "00"), "\u{0}", &"x".repeat(1 << 20)]
    {
        assert_eq!(all(&mut client, with(session, 0)).await.problem, "SESSION_NOT_FOUND", "{session:.40}");
    }
    for offset in [7, 1000, u64::MAX] {
        assert_eq!(all(&mut client, with(&known.session, offset)).await.problem, "INVALID_RESUME_OFFSET");
    }
    assert_eq!(all(&mut client, with(&known.session, 6)).await.problem, "");
}

#[tokio::test]
async fn what_was_dropped_is_a_gap_to_those_who_come_for_it_and_to_nobody_else() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "echo one; echo two; echo three").await;
    let known = all(&mut client, wire::StreamLogsRequest { timestamps: true, ..request(&id) }).await;
    daemon.world.drop_log_records(&id.parse().unwrap(), 1);
    let (one, line) = ("one\n".len() as u64, known.text.find('\n').unwrap() as u64 + 1);
    let after = |resume_log_offset| wire::StreamLogsRequest { resume_log_offset, ..known.resume(&id) };
    assert_eq!(all(&mut client, after(line - one)).await.problem, "REPLAY_GAP");
    let rest = all(&mut client, after(line + 5)).await;
    assert_eq!(rest.text, known.text[line as usize + 5..]);
    assert_eq!(all(&mut client, request(&id)).await.text, "two\nthree\n");
}

#[tokio::test]
async fn a_reader_that_is_overtaken_is_told() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "seq 1 2000000").await;
    let mut stream = open(&mut client, request(&id)).await.unwrap();
    let mut delivered = Delivered::default();
    delivered.add(next(&mut stream).await.unwrap().unwrap());
    daemon.world.drop_log_records(&id.parse().unwrap(), 800);
    while let Some(entry) = next(&mut stream).await.unwrap() {
        delivered.add(entry);
    }
    assert_eq!(delivered.problem, "REPLAY_GAP");
}

#[tokio::test]
async fn bad_requests_are_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = ran(&mut client, "echo hello").await;
    let session = all(&mut client, request(&id)).await.session;
    let resume = || wire::StreamLogsRequest { resume_log_session_id: session.clone(), ..request(&id) };
    let far = Some(wire_time(i64::MAX));
    for (request, name) in [
        (wire::StreamLogsRequest { tail_lines: -1, ..request(&id) }, "tail_lines"),
        (wire::StreamLogsRequest { since_time: far, ..request(&id) }, "since_time"),
        (wire::StreamLogsRequest { resume_log_offset: 3, ..request(&id) }, "resume_log_offset"),
        (wire::StreamLogsRequest { container: "other".into(), ..request(&id) }, "container"),
        (wire::StreamLogsRequest { tail_lines: 1, ..resume() }, "tail_lines"),
        (wire::StreamLogsRequest { timestamps: true, ..resume() }, "timestamps"),
        (wire::StreamLogsRequest { since_time: Some(wire_time(1)), ..resume() }, "since_time"),
    ] {
        let status = open(&mut client, request).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_str()), (Code::InvalidArgument, name));
    }
    let status = open(&mut client, request("01arz3ndektsv4rrffq69g5fav")).await.unwrap_err();
    assert_eq!(reason(&status), "CWSANDBOX_SANDBOX_NOT_FOUND");
    let named = wire::StreamLogsRequest { container: "main".into(), ..request(&id) };
    assert_eq!(all(&mut client, named).await.text, "hello\n");
}

fn wire_time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test]
async fn a_sandbox_that_was_never_made_has_no_log_and_says_why() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id =
        client.create(|_, container| container.command = "no-such-thing".into()).await.unwrap().sandbox_id;
    assert_eq!(state(&client.wait(&id).await.unwrap()), wire::State::Failed);
    let status = open(&mut client, request(&id)).await.unwrap_err();
    assert_eq!(reason(&status), "CWSANDBOX_SANDBOX_NOT_RUNNING");
    assert!(status.message().contains("no-such-thing"), "{}", status.message());
}

#[tokio::test]
async fn a_deadline_ends_a_follower() {
    let daemon = Daemon::start().await;
    let id = runs(&mut daemon.client().await, "echo hello; sleep 300").await;
    let origin = "http://ebbtide.invalid".parse().unwrap();
    let channel = daemon.patient_channel().await;
    let mut sandboxes = wire::sandbox_service_client::SandboxServiceClient::with_origin(channel, origin);
    let mut follow = tonic::Request::new(wire::StreamLogsRequest { follow: true, ..request(&id) });
    follow.set_timeout(Duration::from_millis(300));
    let mut stream = sandboxes.stream_logs(follow).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().data, "hello\n");
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_daemon_that_ends_ends_its_followers_so_that_they_come_again() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = runs(&mut client, "echo hello; sleep 300").await;
    let mut stream =
        open(&mut client, wire::StreamLogsRequest { follow: true, ..request(&id) }).await.unwrap();
    next(&mut stream).await.unwrap();
    daemon.tell.send(()).unwrap();
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::Unavailable);
}
