//! The steps of a create and a stop.

use std::time::{Duration, Instant};

use ebbtide_tests::{Machine, command::binary_with_fail_points, eventually};

use crate::{Doomed, FAIL_POINTS, LIMIT, sandboxes};

#[test]
fn a_daemon_that_dies_at_any_step_loses_no_sandbox_and_leaves_nothing() {
    let machine = Machine::take();
    let on_the_way = |point: &&&str| point.starts_with("create.") || point.starts_with("stop.");
    for point in FAIL_POINTS.iter().filter(on_the_way) {
        let home = machine.home().with_binary(binary_with_fail_points());
        let doomed = Doomed::start(&home, point);

        // The caller tries again with the same request id, and so starts the next daemon.
        let main = ["create", "--json", "--", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done"];
        let created = home.ebb(main).limit(Duration::from_secs(120)).run();
        let id = created.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
        let sandboxes_after_create = sandboxes(&home);
        assert_eq!(sandboxes_after_create.len(), 1, "{point}: one create made {sandboxes_after_create:?}");
        eventually("the sandbox runs", LIMIT, || (home.state(&id) == "running").then_some(()));
        if point.starts_with("create.") {
            // That a sandbox runs is written down a moment after it does.
            let died = ebbtide_tests::holds_within(Duration::from_secs(10), || !doomed.lives());
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
        assert!(!doomed.lives(), "{point} was never reached");
        let _ = home.ebb(["doctor"]).run().exited(0);
        home.shutdown();
        doomed.assert_died();
        machine.assert_nothing_left();
    }
}

#[test]
fn a_main_command_that_ends_while_the_daemon_dies_is_reported_with_its_exit_code() {
    let machine = Machine::take();
    for point in FAIL_POINTS.iter().filter(|point| point.starts_with("stop.")) {
        let home = machine.home().with_binary(binary_with_fail_points());
        let doomed = Doomed::start(&home, point);
        let created = home.ebb(["create", "--json", "--", "sh", "-c", "sleep 0.5; exit 3"]).run();
        let id = created.json()["id"].as_str().map(str::to_owned).unwrap_or_default();
        // Points that only a request to stop comes to are left out by the daemon's living on.
        let deadline = Instant::now() + Duration::from_secs(3);
        while doomed.lives() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let sandbox = eventually("the sandbox ends", LIMIT, || {
            let sandbox = home.get(&id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(sandbox["state"], "completed", "{point}: {sandbox}");
        assert_eq!(sandbox["exit_code"], 3, "{point}: {sandbox}");
        home.shutdown();
        doomed.wait();
    }
    machine.assert_nothing_left();
}
