//! Exec: a command as one call and one answer.

use ebbtide_driver::{Exec, ExecEvent, ExecRequest};
use ebbtide_model::{Command, Invalid};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::errors;
use crate::sandboxes::Sandboxes;

/// How much of each stream is answered with if the call does not say: a gRPC client that was told nothing accepts
/// messages of 4 MiB.
const DEFAULT_BYTES: usize = 1 << 20;
/// The most that may be asked for: two of it fit one message.
const MAX_BYTES: usize = 48 << 20;

/// Runs a command with an empty standard input to its end, and answers with the beginning of what it wrote.
/// The command ends with the call, also by its deadline.
pub(crate) async fn unary(
    sandboxes: &Sandboxes,
    request: Request<wire::ExecRequest>,
) -> Result<Response<wire::ExecResponse>, Status> {
    let caller = Caller::from_request(&request)?;
    let wire::ExecRequest { sandbox_id, command, env, max_output_bytes, container } = request.into_inner();
    let most = most(max_output_bytes).map_err(errors::invalid)?;
    sandboxes.check_container(&caller, &sandbox_id, &container).await.map_err(errors::control)?;
    let command = Command { argv: command, env: env.into_iter().collect(), working_dir: None };
    let request = ExecRequest { command, stdin: false, terminal: None };
    let exec = sandboxes.control.exec(&caller.principal, &sandbox_id, request).await;
    let exec = exec.map_err(errors::control)?;
    let mut ending = sandboxes.ending.clone();
    tokio::select! {
        biased;
        answer = collect(exec, most) => answer.map(Response::new),
        () = ending.begun() => Err(errors::ending()),
    }
}

fn most(asked: i32) -> Result<usize, Invalid> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_BYTES),
        Ok(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        _ => Err(Invalid::new(
            "max_output_bytes",
            format!("{asked} bytes of each stream do not fit an answer"),
            format!("0, which is {DEFAULT_BYTES}, to {MAX_BYTES}"),
        )),
    }
}

async fn collect(mut exec: Exec, most: usize) -> Result<wire::ExecResponse, Status> {
    let (mut stdout, mut stderr) = (Beginning::default(), Beginning::default());
    loop {
        match exec.events.next().await.map_err(errors::driver)? {
            ExecEvent::Stdout(data) => stdout.add(&data, most),
            ExecEvent::Stderr(data) => stderr.add(&data, most),
            ExecEvent::Exit(status) => {
                return Ok(wire::ExecResponse {
                    stdout_truncated: stdout.truncated(),
                    stderr_truncated: stderr.truncated(),
                    stdout_bytes_produced: i64::try_from(stdout.produced).unwrap_or(i64::MAX),
                    stderr_bytes_produced: i64::try_from(stderr.produced).unwrap_or(i64::MAX),
                    stdout: stdout.kept.into(),
                    stderr: stderr.kept.into(),
                    exit_code: status.code(),
                });
            }
        }
    }
}

/// The beginning of a stream, and how long the whole of it is.
#[derive(Default)]
struct Beginning {
    kept: Vec<u8>,
    produced: u64,
}

impl Beginning {
    fn add(&mut self, data: &[u8], most: usize) {
        let fits = data.len().min(most - self.kept.len());
        self.kept.extend_from_slice(&data[..fits]);
        self.produced += data.len() as u64;
    }

    fn truncated(&self) -> bool {
        self.produced > self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_kept_and_the_whole_is_counted() {
        let mut stream = Beginning::default();
        stream.add(b"abc", 4);
        assert!(!stream.truncated());
        stream.add(b"def", 4);
        stream.add(b"ghi", 4);
        assert_eq!((stream.kept.as_slice(), stream.produced), (b"abcd".as_slice(), 9));
        assert!(stream.truncated());
    }
}
