//! Exec as one call.

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tonic::{Code, Request, Status};

use crate::daemon::{Client, Daemon, field, reason};
use crate::exec::{gone, run};

fn command(id: &str, argv: &[&str]) -> wire::ExecRequest {
    let command = argv.iter().map(ToString::to_string).collect();
    wire::ExecRequest { sandbox_id: id.to_owned(), command, ..Default::default() }
}

async fn exec(client: &mut Client, request: wire::ExecRequest) -> Result<wire::ExecResponse, Status> {
    Ok(client.sandboxes.exec(request).await?.into_inner())
}

#[tokio::test]
async fn the_answer_has_everything_that_the_command_did() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut request = command(&id, &["sh", "-c", "cat; echo $NAME; echo oops >&2; exit 7"]);
    request.env.insert("NAME".to_owned(), "value".to_owned());
    let answer = exec(&mut client, request).await.unwrap();
    let expected = wire::ExecResponse {
        stdout: "value\n".into(),
        stderr: "oops\n".into(),
        exit_code: 7,
        stdout_bytes_produced: 6,
        stderr_bytes_produced: 5,
        ..Default::default()
    };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn output_past_the_bound_is_counted_and_not_kept() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let mut request = command(&id, &["sh", "-c", "seq 1 1000; echo short >&2"]);
    request.max_output_bytes = 10;
    let answer = exec(&mut client, request).await.unwrap();
    assert_eq!((answer.stdout.as_ref(), answer.stdout_truncated), (b"1\n2\n3\n4\n5\n".as_slice(), true));
    assert_eq!((answer.stdout_bytes_produced, answer.exit_code), (3893, 0));
    assert_eq!((answer.stderr.as_ref(), answer.stderr_truncated), (b"short\n".as_slice(), false));
}

#[tokio::test]
async fn without_a_bound_the_answer_fits_what_clients_accept_by_default() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let answer = exec(&mut client, command(&id, &["seq", "1", "1000000"])).await.unwrap();
    assert_eq!((answer.stdout.len(), answer.stdout_truncated), (1 << 20, true));
    assert_eq!(answer.stdout_bytes_produced, 6_888_896);
}

#[tokio::test]
async fn the_deadline_of_a_call_ends_its_command() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    run(&mut client, &id, &["true"]).await;
    let mut call = Request::new(command(&id, &["sh", "-c", "echo $$ > /tmp/pid; exec sleep 1000"]));
    call.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let late = client.sandboxes.exec(call).await.unwrap_err();
    // The client watches the deadline as well, and may be the first to say so.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
    let pid = run(&mut client, &id, &["cat", "/tmp/pid"]).await.stdout;
    gone(&mut client, &id, String::from_utf8(pid).unwrap().trim()).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let good = || command(&id, &["true"]);
    for (request, name) in [
        (command(&id, &[]), "command"),
        (wire::ExecRequest { max_output_bytes: -1, ..good() }, "max_output_bytes"),
        (wire::ExecRequest { max_output_bytes: (48 << 20) + 1, ..good() }, "max_output_bytes"),
        (wire::ExecRequest { container: "other".to_owned(), ..good() }, "container"),
    ] {
        let refused = exec(&mut client, request).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, name));
        assert_eq!(reason(&refused), "CWSANDBOX_INVALID_REQUEST");
    }
    let unknown = exec(&mut client, command("sbx-unknown", &["true"])).await.unwrap_err();
    assert_eq!(reason(&unknown), "CWSANDBOX_SANDBOX_NOT_FOUND");
    let missing = exec(&mut client, command(&id, &["no-such-program"])).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
    assert!(missing.message().contains("no-such-program"), "{missing}");
}
