//! The output of a main command reaches its readers whole: while it is written, after the end, over the death of the
//! daemon, and for as long as its sandbox is known.

use std::process::Stdio;
use std::time::Duration;

use ebbtide::{ConnectOptions, LogEvent, LogOptions, Target};
use ebbtide_tests::{Machine, TestHome, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// Writes numbered lines for about three seconds, to both streams.
const NUMBERS: &str = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo line $i; \
     [ $((i % 1000)) -ne 0 ] || { echo thousand >&2; sleep 0.1; }; done";

fn numbers() -> String {
    (1..=30_000).map(|i| format!("line {i}\n{}", if i % 1000 == 0 { "thousand\n" } else { "" })).collect()
}

/// A sandbox that has run this script to its end.
fn ran(home: &TestHome, script: &str) -> String {
    let id = home.create(&["--", "sh", "-c", script]);
    eventually("it ends", LIMIT, || home.get(&id)["ended_at"].is_string().then_some(()));
    id
}

#[test]
fn a_follower_gets_everything_though_the_daemon_is_killed_again_and_again() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--", "sh", "-c", NUMBERS]);
    let follower = home.ebb(["logs", "-f", &id]).spawn();
    let stamped = home.ebb(["logs", "-f", "--timestamps", &id]).spawn();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(600));
        home.kill_daemon();
        let _ = home.state(&id);
    }
    let followed = follower.wait().exited(0);
    assert!(followed.stdout == numbers().into_bytes(), "{} bytes", followed.stdout.len());
    let stamped = String::from_utf8(stamped.wait().exited(0).stdout).expect("text");
    let texts: String = stamped.lines().map(|line| format!("{}\n", &line[31..])).collect();
    assert!(texts == numbers(), "{} bytes", texts.len());
    let whole = home.ebb(["logs", &id]).run().exited(0);
    assert!(whole.stdout == numbers().into_bytes(), "{} bytes", whole.stdout.len());
}

#[test]
fn a_part_of_a_log_is_shown_as_it_is_asked_for() {
    let machine = Machine::take();
    let home = machine.home();
    let id = ran(&home, "echo old; sleep 2; echo new; echo €uro >&2");
    assert_eq!(home.ebb(["logs", "--tail", "2", &id]).run().ok(), "new\n€uro");
    let lines = home.ebb(["logs", "--json", &id]).run().exited(0).text();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| line.parse().expect("JSON")).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().expect("a text")).collect();
    assert_eq!(texts, ["old", "new", "€uro"]);
    let since = lines[1]["time"].as_str().expect("a time");
    assert_eq!(home.ebb(["logs", "--since", since, &id]).run().ok(), "new\n€uro");
    assert_eq!(home.ebb(["logs", "--since", "1h", "--tail", "1", &id]).run().ok(), "€uro");
    assert_eq!(home.ebb(["logs", "--tail", "0", &id]).run().ok(), "");
    let idle = home.create(&[]);
    assert_eq!(home.ebb(["logs", &idle]).run().ok(), "");
    let missing = home.ebb(["logs", "01arz3ndektsv4rrffq69g5fav"]).run().exited(125);
    assert!(missing.error().contains("01arz3ndektsv4rrffq69g5fav"), "{}", missing.error());
}

#[test]
fn the_latest_output_is_kept_and_a_slow_reader_holds_nobody_up() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--", "sh", "-c", "seq 1 6000000; echo the end"]);
    // Reads nothing of what it is sent.
    let stuck = home.ebb(["logs", "-f", &id]).beside(Stdio::piped(), Stdio::null());
    eventually("it ends", LIMIT, || home.get(&id)["ended_at"].is_string().then_some(()));
    assert_eq!(home.ebb(["logs", "--tail", "2", &id]).run().ok(), "6000000\nthe end");
    let kept = home.ebb(["logs", &id]).run().exited(0).stdout;
    assert!((14 << 20..17 << 20).contains(&kept.len()), "{} bytes are kept", kept.len());
    drop(stuck);
}

#[test]
fn a_program_reads_a_log_and_goes_on_over_another_connection() {
    let machine = Machine::take();
    let home = machine.home();
    let id = ran(&home, "seq 1 100000");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let location = ebbtide::HomeLocation::new(home.state_dir(), "/run/ebbtide");
        let target = Target::Home(location);
        let options =
            ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
        let connect = || async { target.connect(&options).await.expect("connect") };
        let mut logs = connect().await.logs(&id, LogOptions::default());
        let mut text = Vec::new();
        while let Some(event) = logs.next().await.expect("the log") {
            let LogEvent::Data { data, .. } = event else { panic!("{event:?}") };
            text.extend(data);
            logs.resume_on(&connect().await);
        }
        let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        assert!(text == expected.into_bytes(), "{} bytes", text.len());
    });
}

#[test]
fn an_alias_makes_an_image_known_at_once_and_is_gone_when_it_is_removed() {
    let machine = Machine::take();
    let home = machine.home();
    // Nobody listens there, so nothing is pulled wherever this runs.
    const NAME: &str = "127.0.0.1:1/python:3.11";
    let run = || home.ebb(["run", "--image", NAME, "--", "echo", "hi"]).run();
    let refused = run().exited(125);
    assert!(refused.error().contains("cannot be reached"), "{}", refused.error());
    let _ = home.ebb(["image", "alias", NAME, "base"]).run().exited(0);
    let _ = home.ebb(["image", "alias", "base", "host"]).run().exited(0);
    assert_eq!(run().ok(), "hi");
    let listed = home.ebb(["image", "alias", "--list", "--json"]).run().json();
    assert_eq!(listed["aliases"][NAME], "base");
    let circle = home.ebb(["image", "alias", "host", NAME]).run().exited(125);
    assert!(circle.error().contains("3.11 -> base -> host"), "{}", circle.error());
    let id = home.create(&["--image", NAME]);
    assert_eq!(home.get(&id)["image"], NAME);
    let _ = home.ebb(["image", "alias", "--remove", NAME]).run().exited(0);
    let _ = run().exited(125);
}
