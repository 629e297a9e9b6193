//! Many first calls at once, against a daemon that is just about to go for want of work.

use std::time::Duration;

use ebbtide_tests::{Ebb, Machine, eventually, scale};
use rustix::process::Signal;

#[test]
fn concurrent_first_calls_against_an_idle_exiting_daemon_never_fail() {
    let machine = Machine::take();
    let home = machine.home();
    let (rounds, callers) = (scale("EBBTIDE_TEST_ROUNDS", 3), scale("EBBTIDE_TEST_CALLERS", 24));
    for round in 0..rounds {
        // Its idle time is over between its first breath and the moment the callers come.
        let serve = home.ebb(["serve", "--idle-exit", "1"]).limit(Duration::from_secs(120)).spawn();
        eventually("the daemon listens", Duration::from_secs(30), || {
            home.run_dir_if_any()?.join("ebb.sock").exists().then_some(())
        });
        std::thread::sleep(Duration::from_millis(850 + (round as u64 * 37) % 300));
        std::thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| {
                    let list = home.ebb(["list", "--json"]).run().json();
                    assert_eq!(list["sandboxes"], serde_json::json!([]));
                });
            }
        });
        home.shutdown();
        let _ = serve.wait();
    }
}

#[test]
fn of_many_first_calls_one_starts_the_daemon() {
    let machine = Machine::take();
    let home = machine.home();
    for _ in 0..scale("EBBTIDE_TEST_ROUNDS", 3) {
        std::thread::scope(|scope| {
            for _ in 0..scale("EBBTIDE_TEST_CALLERS", 24) {
                scope.spawn(|| drop(home.ebb(["list"]).run().ok()));
            }
        });
        assert!(home.daemon().is_some());
        home.shutdown();
        assert!(home.daemon().is_none());
    }
}

/// A caller as a background job of a shell, `nohup` and a thread with blocked signals make one, all at once.
const DEAF: &str = "
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn signals_that_the_first_caller_does_not_hear_the_daemon_and_the_commands_hear() {
    let machine = Machine::take();
    let home = machine.home();
    // Two are the C library's own, which it starts programs with ignored and lets nobody change.
    let internal: u64 = 0b11 << 31;
    let signals = |status: &str| {
        let set = |name| status.lines().find_map(|line| line.strip_prefix(name)).expect("a set of signals");
        let number = |set: &str| u64::from_str_radix(set.trim(), 16).expect("a number");
        ["SigBlk:", "SigIgn:"].map(|name| number(set(name)) & !internal)
    };
    let ebb = home.binary().to_str().expect("a path in UTF-8").to_owned();
    let run = ["-c", DEAF, &ebb, "run", "--", "cat", "/proc/self/status"];
    let status = Ebb::new("python3", run).env("EBBTIDE_HOME", home.state_dir()).run().ok();
    assert_eq!(signals(&status), [0, 0], "a command");

    let daemon = home.daemon().expect("a daemon");
    let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).expect("its status");
    let broken_pipe = 1 << (Signal::PIPE.as_raw() - 1);
    assert_eq!(signals(&status), [0, broken_pipe], "the daemon");
}
