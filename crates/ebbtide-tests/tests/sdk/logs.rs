//! The output of a main command by the sandbox's handle.

use ebbtide::{LogOptions, SandboxState, StopOptions, blocking};
use ebbtide_tests::Machine;

use crate::{builder, connection};

const FOLLOW: LogOptions = LogOptions { follow: true, tail: None, since: None, timestamps: false };

#[tokio::test]
async fn a_log_is_followed_to_its_end_and_read_again_afterwards() {
    let machine = Machine::take();
    let home = machine.home();
    let script = "for i in 1 2 3; do echo line $i; sleep 0.1; done; printf last";
    let job = builder(&home).command("sh").args(["-c", script]).build().unwrap();
    // The first use starts it.
    let mut logs = job.logs(FOLLOW).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = logs.next_line().await.unwrap() {
        lines.push(line);
    }
    assert_eq!(lines, ["line 1\n", "line 2\n", "line 3\n", "last"]);
    assert_eq!(job.ended(std::time::Duration::from_secs(60)).await.unwrap().state, SandboxState::Completed);
    let mut tail = job.logs(LogOptions { tail: Some(2), ..LogOptions::default() }).await.unwrap();
    assert_eq!(tail.next_line().await.unwrap().as_deref(), Some("line 3\n"));
    assert_eq!(tail.next_line().await.unwrap().as_deref(), Some("last"));
    assert_eq!(tail.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_follower_goes_on_when_the_daemon_is_killed_and_nobody_starts_another() {
    let machine = Machine::take();
    let home = machine.home();
    let script = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done";
    let job = builder(&home).command("sh").args(["-c", script]).build().unwrap();
    let mut logs = job.logs(FOLLOW).await.unwrap();
    for number in 1..=60 {
        if number % 20 == 10 {
            home.kill_daemon();
        }
        assert_eq!(logs.next_line().await.unwrap(), Some(format!("{number}\n")), "lost, doubled or cut");
    }
    job.stop_with(StopOptions::now()).await.unwrap();
}

#[test]
fn lines_are_read_without_async_too() {
    let machine = Machine::take();
    let home = machine.home();
    let builder = blocking::Sandbox::builder().connection(connection(&home));
    let job = builder.command("seq").args(["3"]).run().unwrap();
    let lines: Vec<String> = job.logs(FOLLOW).unwrap().map(Result::unwrap).collect();
    assert_eq!(lines, ["1\n", "2\n", "3\n"]);
    job.stop().unwrap();
}
