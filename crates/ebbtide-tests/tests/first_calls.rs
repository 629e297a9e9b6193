//! Many first calls at once, against a daemon that is just about to go for want of work.

use std::time::Duration;

use ebbtide_tests::{Machine, eventually, scale};

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
