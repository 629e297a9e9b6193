//! One command runs a command in a real sandbox, passes everything through, and leaves nothing behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_tests::{Ebb, Machine, Started, TestHome, eventually};
use rustix::process::Signal;

#[test]
fn the_first_command_on_a_fresh_machine_says_hello() {
    let machine = Machine::take();
    let home = machine.home();
    let said = home.ebb(["run", "--", "sh", "-c", "echo hello from $(uname -n)"]).run().ok();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert!(said.starts_with("hello from "), "{said}");
    assert_ne!(said, format!("hello from {host}"), "the sandbox has the host's name");
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn a_shell_that_captures_the_output_does_not_wait_for_the_daemon() {
    let machine = Machine::take();
    let home = machine.home();
    let script = r#"x=$("$EBB" run -- echo hi); echo "got $x""#;
    let shell =
        Ebb::new("sh", ["-c", script]).env("EBB", home.binary()).env("EBBTIDE_HOME", home.state_dir());
    // The daemon lives for 60 s without work: whoever waits for it is not done before that.
    let output = shell.limit(Duration::from_secs(30)).run();
    assert!(home.daemon().is_some(), "no daemon was started");
    assert_eq!(output.ok(), "got hi");
}

#[test]
fn the_exit_code_is_the_commands_own() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = home.sh("exit 0").run().exited(0);
    let _ = home.sh("exit 7").run().exited(7);
    let _ = home.sh("exit 255").run().exited(255);
    let _ = home.sh("kill -TERM $$").run().exited(143);
    let missing = home.ebb(["run", "--", "no-such-program"]).run().exited(127);
    assert!(missing.error().contains("no-such-program"), "{}", missing.error());
    let _ = home.ebb(["run", "--", "/etc/passwd"]).run().exited(126);
    let _ = home.ebb(["run", "--", "/etc"]).run().exited(126);
    let refused = home.ebb(["run", "--image", "no-such-image", "--", "true"]).run().exited(125);
    assert!(refused.error().contains("no-such-image"), "{}", refused.error());
}

#[test]
fn standard_error_is_apart_from_standard_output() {
    let machine = Machine::take();
    let home = machine.home();
    let output = home.sh("echo out; echo err >&2").run().exited(0);
    assert_eq!(output.text(), "out");
    assert_eq!(output.error().trim_end(), "err");
}

#[test]
fn python_computes() {
    let machine = Machine::take();
    let home = machine.home();
    assert_eq!(home.ebb(["run", "--", "python3", "-c", "print(2+2)"]).run().ok(), "4");
}

#[test]
fn a_hundred_megabytes_come_back_as_they_went() {
    let machine = Machine::take();
    let home = machine.home();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(100 << 20);
    while bytes.len() < 100 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    let command = home.ebb(["run", "--", "cat"]).stdin(bytes.clone()).limit(Duration::from_secs(240));
    let output = command.run().exited(0);
    assert!(output.stdout == bytes, "{} bytes came back, or others than went", output.stdout.len());
}

#[test]
fn a_command_gets_the_environment_it_is_given_and_none_of_the_callers() {
    let machine = Machine::take();
    let home = machine.home();
    let command = home.ebb(["run", "--env", "GIVEN=yes", "--workdir", "/usr", "--", "sh", "-c", "env; pwd"]);
    let output = command.env("HIDDEN_FROM_SANDBOXES", "secret").run().ok();
    assert!(output.contains("GIVEN=yes"), "{output}");
    assert!(!output.contains("HIDDEN") && !output.contains("secret"), "{output}");
    assert!(!output.contains("EBBTIDE"), "{output}");
    assert_eq!(output.lines().last(), Some("/usr"));
}

#[test]
fn each_signal_ends_the_command_the_sandbox_and_ebb_with_its_code() {
    let machine = Machine::take();
    let home = machine.home();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let running = home.sh("trap '' INT TERM HUP; while :; do sleep 1; done").spawn();
        one_runs(&home);
        running.signal(signal);
        let _ = running.wait().exited(code);
        assert_eq!(home.live(), 0, "a sandbox is left after {signal:?}");
    }
}

#[test]
fn a_closed_pipe_ends_the_command() {
    let machine = Machine::take();
    let home = machine.home();
    let script = r#""$EBB" run -- yes | head -n 1; echo "${PIPESTATUS[0]}""#;
    let shell =
        Ebb::new("bash", ["-c", script]).env("EBB", home.binary()).env("EBBTIDE_HOME", home.state_dir());
    assert_eq!(shell.run().ok(), "y\n141");
    assert_eq!(home.live(), 0);
}

#[test]
fn a_command_that_reads_nothing_is_not_held_up_by_its_input() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = home.sh("exit 3").stdin(vec![b'x'; 10 << 20]).run().exited(3);
    // And one whose input never ends is not held up either.
    let mut silent = Started::new(Command::new("sleep").arg("60").stdout(Stdio::piped()));
    let _ = home.sh("exit 4").stdin_from(silent.stdout()).run().exited(4);
}

fn one_runs(home: &TestHome) {
    eventually("a command runs", Duration::from_secs(30), || {
        let list = home.ebb(["list", "--state", "running", "--json"]).run().json();
        let id = list["sandboxes"][0]["id"].as_str()?.to_owned();
        home.exec(&id, "grep -l 'sleep' /proc/[0-9]*/cmdline").run().text().contains("/proc/").then_some(())
    });
}
