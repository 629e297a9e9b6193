//! Deaths at no step in particular.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ebbtide_tests::{Machine, command::kill, eventually, scale};
use rustix::process::Signal;

use crate::{LIMIT, sandboxes};

#[test]
fn a_daemon_that_dies_at_random_loses_no_sandbox_and_leaves_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let deaths = scale("EBBTIDE_TEST_DEATHS", 10);
    let answered: Mutex<Vec<String>> = Mutex::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..3 {
            let (home, answered, done) = (&home, &answered, &done);
            scope.spawn(move || {
                let mut turn = client;
                while !done.load(Ordering::Relaxed) {
                    turn += 1;
                    let main: &[&str] = if turn % 3 == 0 { &["--", "sh", "-c", "exit 5"] } else { &[] };
                    let args = ["create", "--json", "--no-wait"].iter().chain(main).copied();
                    let output = home.ebb(args).run();
                    if output.code() != 0 {
                        continue;
                    }
                    let id = output.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
                    answered.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(id.clone());
                    if turn % 2 == 0 {
                        let _ = home.ebb(["stop", "--grace", "0", &id]).run();
                    }
                }
            });
        }
        let mut state = u64::from(std::process::id());
        for death in 0..deaths {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(50 + (state >> 33) % 400));
            if let Some(daemon) = home.daemon() {
                kill(daemon, Signal::KILL);
            }
            // Now and then the launcher goes with it.
            if death % 10 == 9 {
                home.processes("ebb-launcher").into_iter().for_each(|pid| kill(pid, Signal::KILL));
            }
        }
        done.store(true, Ordering::Relaxed);
    });

    let answered = answered.into_inner().unwrap_or_default();
    assert!(!answered.is_empty(), "no create was ever answered");
    eventually("what was begun is finished", LIMIT, || {
        let settled = sandboxes(&home)
            .values()
            .all(|sandbox| sandbox["ended_at"].is_string() || sandbox["state"] == "running");
        settled.then_some(())
    });
    let known = sandboxes(&home);
    for id in &answered {
        let sandbox = known.get(id).unwrap_or_else(|| panic!("sandbox {id} was answered and is unknown"));
        // One that was stopped before it was known to run never ran, crash or not.
        let stopped_early = sandbox["reason"] == "stopped" && sandbox["started_at"].is_null();
        assert!(sandbox["state"] != "failed" || stopped_early, "{sandbox}");
        if sandbox["ended_at"].is_string() {
            let reason = sandbox["reason"].as_str().unwrap_or_default();
            assert!(matches!(reason, "main_exited" | "stopped"), "{sandbox}");
            assert!(reason != "main_exited" || sandbox["exit_code"] == 5, "{sandbox}");
        } else {
            assert_eq!(home.exec(id, "echo alive").run().ok(), "alive");
        }
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
    let _ = home.ebb(["purge", "--all", "--yes"]).limit(Duration::from_secs(120)).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}
