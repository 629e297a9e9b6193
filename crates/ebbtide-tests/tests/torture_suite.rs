//! The conformance suite for clean-up, `ebb torture`: it passes a system that cleans up, finds what one that does not
//! has left, and removes it.

#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::time::Duration;

use ebbtide_tests::{Ebb, Machine, command};
use serde_json::Value;

/// The suite waits for graces by the clock.
const LIMIT: Duration = Duration::from_secs(150);

/// A system whose sandboxes are plain processes: by themselves, which nobody ends; and with a guard, which ends them
/// when their owner has ended.
const CARELESS: &str = r#"
GRACE=2
HOLD=1
available() { echo careless 1; }
setup() { mkdir "$TORTURE_DIR/state"; }
create() {
    setsid "$@" >/dev/null 2>&1 </dev/null &
    sandbox=$!
    touch "$TORTURE_DIR/state/$sandbox"
}
stop() {
    kill -KILL -"$1" 2>/dev/null
    rm -f "$TORTURE_DIR/state/$1"
}
leave() { stop "$sandbox"; }
directories() { echo "$TORTURE_DIR/state"; }
"#;

fn torture(target: &str, cases: &[&str]) -> Ebb {
    let cases = cases.iter().flat_map(|case| ["--case", case]);
    let args = ["torture", target, "--json", "--owners", "2", "--churn", "3"];
    Ebb::new(command::binary(), args.into_iter().chain(cases)).limit(LIMIT)
}

fn case<'a>(scorecard: &'a Value, name: &str) -> &'a Value {
    let cases = scorecard["cases"].as_array().unwrap_or_else(|| panic!("no cases in {scorecard}"));
    cases.iter().find(|case| case["case"] == name).unwrap_or_else(|| panic!("no {name} in {scorecard}"))
}

#[test]
fn the_suite_finds_nothing_in_ebbtide_when_owners_die_or_stop() {
    let machine = Machine::take();
    let cases =
        ["owner-killed", "owner-stopped", "owner-killed-early", "stop-twice", "payload-forks", "churn"];
    let scorecard = torture("ebbtide", &cases).run().json();
    for name in cases {
        assert_eq!(case(&scorecard, name)["verdict"], "clean", "{scorecard}");
    }
    let longest = case(&scorecard, "owner-killed")["release"]["longest_seconds"].as_f64();
    // The grace is two seconds, and nothing goes before.
    assert!(longest.is_some_and(|seconds| (1.9..10.0).contains(&seconds)), "{scorecard}");
    machine.assert_nothing_left();
}

#[test]
fn a_system_that_leaves_something_is_found_out_and_cleaned_up_after() {
    let machine = Machine::take();
    let home = machine.home();
    let target = home.directory().join("careless.sh");
    fs::write(&target, CARELESS).expect("write the target");
    let target = target.to_str().expect("a path in UTF-8");

    let scorecard = torture(target, &["owner-exits", "stop-gone"]).run().json();
    assert_eq!(scorecard["version"], "careless 1");
    assert_eq!(case(&scorecard, "owner-exits")["verdict"], "clean", "{scorecard}");
    assert_eq!(case(&scorecard, "stop-gone")["verdict"], "clean", "{scorecard}");

    let scorecard = torture(target, &["owner-killed"]).run().exited_with_json(1);
    let killed = case(&scorecard, "owner-killed");
    assert_eq!(killed["verdict"], "leaked", "{scorecard}");
    assert_eq!(killed["release"]["never"], 2, "{scorecard}");
    let count = |kind: &str| {
        let leaked = killed["leaked"].as_array().cloned().unwrap_or_default();
        leaked.iter().find(|leak| leak["kind"] == kind).and_then(|leak| leak["count"].as_u64())
    };
    // Each of the two: the shell and what it waits for.
    assert_eq!((count("process"), count("file")), (Some(4), Some(2)), "{scorecard}");

    // What outlives its stop is seen as well.
    let deaf = CARELESS.replace("kill -KILL -\"$1\"", "kill -TERM \"$1\"");
    let target = home.directory().join("deaf.sh");
    fs::write(&target, deaf).expect("write the target");
    let target = target.to_str().expect("a path in UTF-8");
    let scorecard = torture(target, &["payload-ignores-sigterm"]).run().exited_with_json(1);
    assert_eq!(case(&scorecard, "payload-ignores-sigterm")["verdict"], "leaked", "{scorecard}");

    // And a sandbox that its owner's pause ends.
    let hasty = CARELESS.replace("sandbox=$!", "sandbox=$!\n(sleep 1; kill -KILL -$sandbox) & ");
    let target = home.directory().join("hasty.sh");
    fs::write(&target, hasty).expect("write the target");
    let target = target.to_str().expect("a path in UTF-8");
    let scorecard = torture(target, &["owner-stopped"]).run().exited_with_json(1);
    assert_eq!(case(&scorecard, "owner-stopped")["verdict"], "lost", "{scorecard}");
    machine.assert_nothing_left();
}

#[test]
fn a_target_that_cannot_be_tortured_is_refused_with_words() {
    let machine = Machine::take();
    let home = machine.home();
    let refused = |target: &str, cases: &[&str], words: &str| {
        let output = torture(target, cases).run().exited(2);
        assert!(output.error().contains(words), "{}", output.error());
    };
    refused("docker", &[], "podman");
    refused("./missing.sh", &[], "missing.sh");
    refused("bwrap", &["owner-smiles"], "owner-killed");
    let target = home.directory().join("absent.sh");
    fs::write(&target, "available() { no-such-program --version; }\n").expect("write the target");
    refused(target.to_str().expect("a path in UTF-8"), &[], "no-such-program");
    refused("protocol", &[], "EBBTIDE_URL");
}

#[test]
fn an_interrupted_suite_leaves_nothing() {
    let machine = Machine::take();
    let running = torture("ebbtide", &["owner-stopped"]).spawn();
    ebbtide_tests::eventually("its sandboxes run", Duration::from_secs(60), || {
        machine.left().iter().any(|line| line.contains("(sleep) sleep 1000")).then_some(())
    });
    running.signal(rustix::process::Signal::INT);
    let _ = running.wait().exited(130);
    machine.assert_nothing_left();
}
