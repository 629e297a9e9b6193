//! The daemon dies at every step of a create and a stop, and at random: no sandbox that was ever answered is
//! unknown afterwards, and nothing is left.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ebbtide_tests::{
    Machine, TestHome, command::binary_with_fail_points, command::kill, eventually, home::is_alive, scale,
};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// The places where the daemon can be made to die, as its source lists them.
const FAIL_POINTS: &[&str] = ebbtide_control::FAIL_POINTS;

fn sandboxes(home: &TestHome) -> BTreeMap<String, Value> {
    let list = home.ebb(["list", "--all", "--json"]).run().json();
    let list = list["sandboxes"].as_array().cloned().unwrap_or_default();
    list.into_iter().map(|sandbox| (sandbox["id"].as_str().unwrap_or_default().to_owned(), sandbox)).collect()
}

/// Starts a daemon that dies at `point`, and waits until it can be called.
fn serve(home: &TestHome, point: &str) -> (ebbtide_tests::Running, u32) {
    let serve = home.ebb(["serve"]).env("EBBTIDE_FAIL_POINT", point).limit(Duration::from_secs(300)).spawn();
    let pid = serve.pid();
    eventually("the daemon listens", LIMIT, || {
        (home.daemon() == Some(pid) && home.run_dir_if_any()?.join("ebb.sock").exists()).then_some(())
    });
    (serve, pid)
}

#[test]
fn a_daemon_that_dies_at_any_step_loses_no_sandbox_and_leaves_nothing() {
    let machine = Machine::take();
    let on_the_way = |point: &&&str| point.starts_with("create.") || point.starts_with("stop.");
    for point in FAIL_POINTS.iter().filter(on_the_way) {
        let home = machine.home().with_binary(binary_with_fail_points());
        let (serve, daemon) = serve(&home, point);

        // The caller tries again with the same request id, and so starts the next daemon.
        let main = ["create", "--json", "--", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done"];
        let created = home.ebb(main).limit(Duration::from_secs(120)).run();
        let id = created.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
        let sandboxes_after_create = sandboxes(&home);
        assert_eq!(sandboxes_after_create.len(), 1, "{point}: one create made {sandboxes_after_create:?}");
        eventually("the sandbox runs", LIMIT, || (home.state(&id) == "running").then_some(()));
        if point.starts_with("create.") {
            // That a sandbox runs is written down a moment after it does.
            let died = ebbtide_tests::holds_within(Duration::from_secs(10), || !is_alive(daemon));
            assert!(died, "{point} was never reached");
        }
        assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive", "{point}");
        let _ = home.ebb(["stop", "--grace", "5", &id]).limit(Duration::from_secs(120)).run().exited(0);
        let sandbox = eventually("the sandbox ends", LIMIT, || {
            let sandbox = home.get(&id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(sandbox["state"], "completed", "{point}: {sandbox}");
        assert_eq!(sandbox["reason"], "stopped", "{point}: {sandbox}");
        // Its own, or that of the SIGKILL of a daemon that found it ending; never unknown.
        let code = sandbox["exit_code"].as_i64();
        assert!(matches!(code, Some(4 | 137)), "{point}: {sandbox}");
        assert!(!is_alive(daemon), "{point} was never reached");
        let _ = home.ebb(["doctor"]).run().exited(0);
        home.shutdown();
        assert_eq!(serve.wait().code(), 137, "{point}: the daemon ended in another way");
        machine.assert_nothing_left();
    }
}

#[test]
fn a_main_command_that_ends_while_the_daemon_dies_is_reported_with_its_exit_code() {
    let machine = Machine::take();
    for point in FAIL_POINTS.iter().filter(|point| point.starts_with("stop.")) {
        let home = machine.home().with_binary(binary_with_fail_points());
        let (serve, daemon) = serve(&home, point);
        let created = home.ebb(["create", "--json", "--", "sh", "-c", "sleep 0.5; exit 3"]).run();
        let id = created.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
        // Points that only a request to stop comes to are left out by the daemon's living on.
        let deadline = Instant::now() + Duration::from_secs(3);
        while is_alive(daemon) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let sandbox = eventually("the sandbox ends", LIMIT, || {
            let sandbox = home.get(&id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(sandbox["state"], "completed", "{point}: {sandbox}");
        assert_eq!(sandbox["exit_code"], 3, "{point}: {sandbox}");
        home.shutdown();
        let _ = serve.wait();
    }
    machine.assert_nothing_left();
}

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
