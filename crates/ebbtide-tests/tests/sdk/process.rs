//! Commands in a sandbox: their outputs, their input, their end.

use std::time::Duration;

use ebbtide::{Error, ErrorKind, Sandbox, StopOptions};
use ebbtide_tests::Machine;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::builder;

/// A sandbox that runs, for one test.
async fn with_sandbox(test: impl AsyncFnOnce(&Sandbox)) {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).run().await.unwrap();
    test(&sandbox).await;
    sandbox.stop_with(StopOptions::now()).await.unwrap();
    home.shutdown();
    machine.assert_nothing_left();
}

#[tokio::test]
async fn outputs_are_apart_and_the_exit_code_is_the_commands_own() {
    with_sandbox(async |sandbox| {
        let said = sandbox.exec(["sh", "-c", "echo out; echo err >&2; exit 3"]).output().await.unwrap();
        assert_eq!((said.stdout.as_slice(), said.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!((said.exit_code, said.success()), (3, false));
        assert_eq!(said.command, ["sh", "-c", "echo out; echo err >&2; exit 3"]);
        let said =
            sandbox.exec(["sh", "-c", "echo $A; pwd"]).env("A", "1").cwd("/tmp").output().await.unwrap();
        assert_eq!((said.stdout_text().as_ref(), said.command[0].as_str()), ("1\n/tmp\n", "sh"));
        let killed = sandbox.exec(["sh", "-c", "kill -9 $$"]).output().await.unwrap();
        assert_eq!(killed.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn a_checked_command_that_fails_is_an_error_with_what_it_said() {
    with_sandbox(async |sandbox| {
        sandbox.exec(["true"]).check().output().await.unwrap();
        let failing = || sandbox.exec(["sh", "-c", "echo out; echo why >&2; exit 4"]).check();
        let error = failing().output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Execution);
        assert!(error.to_string().ends_with("returned 4: why"), "{error}");
        let Error::CommandFailed(output) = error else { panic!("{error}") };
        assert_eq!((output.exit_code, output.stdout.as_slice()), (4, &b"out\n"[..]));
        // The streams themselves end as they would.
        let process = failing().start().await.unwrap();
        assert_eq!(process.stdout.next().await.unwrap().unwrap(), "out\n");
        assert_eq!(process.stdout.next().await.unwrap(), None);
        assert!(matches!(process.wait().await, Err(Error::CommandFailed(_))));
        assert_eq!(process.returncode(), Some(4));
    })
    .await;
}

#[tokio::test]
async fn a_command_that_cannot_be_run_says_why() {
    with_sandbox(async |sandbox| {
        let error = sandbox.exec(["no-such-program"]).output().await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Execution, Some("COMMAND_NOT_FOUND")));
        let process = sandbox.exec(["/etc/passwd"]).start().await.unwrap();
        for _ in 0..2 {
            let error = process.wait().await.unwrap_err();
            assert_eq!(error.reason(), Some("COMMAND_NOT_EXECUTABLE"));
        }
        assert!(process.stdout.next().await.is_err(), "an output that never was ends with the reason");
        assert_eq!(process.stdout.next().await.unwrap(), None, "which is told once");
    })
    .await;
}

#[tokio::test]
async fn input_goes_in_and_its_end_is_seen() {
    with_sandbox(async |sandbox| {
        let mut process =
            sandbox.exec(["sh", "-c", "read a; echo got $a; cat"]).stdin().start().await.unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.clone()).lines();
        stdin.write_all(b"one\n").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("got one"));
        stdin.write_all(b"two\n").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("two"));
        stdin.shutdown().await.unwrap();
        assert_eq!(lines.next_line().await.unwrap(), None);
        assert_eq!(process.wait().await.unwrap(), 0);
        let late = stdin.write_all(b"three\n").await.unwrap_err();
        assert_eq!(late.kind(), std::io::ErrorKind::BrokenPipe);
        // Without an input a command reads an empty one.
        assert_eq!(sandbox.exec(["cat"]).output().await.unwrap().stdout, b"");
        let input = vec![b'x'; 3 << 20];
        let echoed = sandbox.exec(["cat"]).output_of(input.clone()).await.unwrap();
        assert!(echoed.stdout == input, "{} bytes came back", echoed.stdout.len());
        let deaf = sandbox.exec(["sh", "-c", "exec <&-; echo no"]).output_of(input).await.unwrap();
        assert_eq!(deaf.stdout, b"no\n");
    })
    .await;
}

#[tokio::test]
async fn one_output_can_be_read_to_its_end_before_the_other() {
    with_sandbox(async |sandbox| {
        // Far more on both than any window or pipe holds, in turns.
        let script = "for i in 1 2 3 4 5 6 7 8; do head -c 1M /dev/zero; head -c 1M /dev/zero >&2; done";
        let process = sandbox.exec(["sh", "-c", script]).start().await.unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        process.stderr.clone().read_to_end(&mut first).await.unwrap();
        process.stdout.clone().read_to_end(&mut second).await.unwrap();
        assert_eq!((first.len(), second.len()), (8 << 20, 8 << 20));
        assert_eq!(process.wait().await.unwrap(), 0);
        // Nor does one who only waits for the end.
        let process = sandbox.exec(["sh", "-c", script]).start().await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn several_who_wait_for_one_command_are_all_answered() {
    with_sandbox(async |sandbox| {
        let script = "for i in $(seq 300); do echo out; echo err >&2; done";
        let process = sandbox.exec(["sh", "-c", script]).start().await.unwrap();
        let read = async |output: ebbtide::ProcessOutput| {
            let mut all = String::new();
            let mut output = output;
            output.read_to_string(&mut all).await.unwrap();
            all.lines().count()
        };
        // In tasks of their own, and two in this one.
        let stdout = tokio::spawn(read(process.stdout.clone()));
        let given_up = tokio::time::timeout(Duration::from_millis(1), process.wait()).await;
        let (code, lines) = tokio::join!(process.wait(), read(process.stderr.clone()));
        assert_eq!((code.unwrap(), lines, stdout.await.unwrap()), (0, 300, 300));
        drop(given_up);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_reads_is_bounded_and_its_loss_is_told() {
    with_sandbox(async |sandbox| {
        let loud = || sandbox.exec(["head", "-c", "1M", "/dev/zero"]).output_limit(100_000);
        let process = loud().start().await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 0, "the exit code comes all the same");
        let mut kept = 0;
        let error = loop {
            match process.stdout.next().await {
                Ok(piece) => kept += piece.expect("an error before the end").len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::OutputTruncated);
        assert!(kept <= 100_000, "{kept}");
        let error = loud().output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputTruncated);
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_command_up() {
    with_sandbox(async |sandbox| {
        let script = "head -c 64M /dev/zero; touch /tmp/done";
        let process = sandbox.exec(["sh", "-c", script]).start().await.unwrap();
        assert!(process.stdout.next().await.unwrap().is_some());
        let asleep = "for i in $(seq 20); do sleep 0.05; done; test ! -e /tmp/done";
        sandbox.exec(["sh", "-c", asleep]).check().output().await.unwrap();
        let rest = process.output().await.unwrap();
        assert!(rest.success() && rest.stdout.len() > 60 << 20);
        sandbox.exec(["test", "-e", "/tmp/done"]).check().output().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended() {
    with_sandbox(async |sandbox| {
        let slow = || sandbox.exec(["sleep", "61"]).timeout(Duration::from_millis(300));
        let error = slow().output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommandTimeout, "{error}");
        let Error::CommandTimeout { command, limit } = error else { panic!("{error}") };
        assert_eq!((command, limit), (vec!["sleep".to_owned(), "61".to_owned()], Duration::from_millis(300)));
        let process = slow().start().await.unwrap();
        assert_eq!(process.wait().await.unwrap_err().kind(), ErrorKind::CommandTimeout);
        gone(sandbox, "sleep 61").await;
    })
    .await;
}

#[tokio::test]
async fn a_command_ends_with_its_handles_or_when_it_is_given_up() {
    with_sandbox(async |sandbox| {
        let process = sandbox.exec(["sleep", "62"]).start().await.unwrap();
        drop(process);
        gone(sandbox, "sleep 62").await;
        let process = sandbox.exec(["sleep", "63"]).start().await.unwrap();
        process.cancel();
        assert!(matches!(process.wait().await, Err(Error::CommandCancelled)));
        gone(sandbox, "sleep 63").await;
    })
    .await;
}

/// Waits, in the sandbox, until no command line has these words.
async fn gone(sandbox: &Sandbox, words: &str) {
    let script = format!("until ! pgrep -fx '{words}'; do sleep 0.05; done");
    sandbox.exec(["sh", "-c", &script]).timeout(Duration::from_secs(30)).check().output().await.unwrap();
}
