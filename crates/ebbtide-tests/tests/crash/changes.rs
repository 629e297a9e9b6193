//! The steps of a pause, of a resume and of a purge.

use ebbtide_tests::{Machine, TestHome, command::binary_with_fail_points, eventually};
use serde_json::Value;

use crate::{Doomed, LIMIT, assert_true, call_once, points, sandboxes};

#[test]
fn a_daemon_that_dies_in_a_pause_a_resume_or_a_purge_has_done_it_or_not_and_the_next_knows_which() {
    let machine = Machine::take();
    let homes = [(); 2].map(|()| machine.home().with_binary(binary_with_fail_points()));
    std::thread::scope(|scope| {
        scope.spawn(|| pauses_and_resumes(&homes[0]));
        scope.spawn(|| purges(&homes[1]));
    });
    homes.iter().for_each(TestHome::shutdown);
    machine.assert_nothing_left();
}

fn pauses_and_resumes(home: &TestHome) {
    for point in points("pause.").chain(points("resume.")) {
        let doomed = Doomed::start(home, point);
        let id = home.create(&["--", "sh", "-c", "while :; do date +%s%N >/tmp/now; sleep 0.05; done"]);
        let told = if point.starts_with("pause.") {
            call_once(home, async |client| client.pause(&id).await)
        } else {
            let _ = home.ebb(["pause", &id]).run().exited(0);
            call_once(home, async |client| client.resume(&id).await)
        };
        assert!(told.is_err(), "{point} was never reached");
        doomed.assert_died();
        // What the kernel was told is what counts.
        let state = match point {
            "pause.driver.before" | "resume.driver.after" => "running",
            _ => "paused",
        };
        eventually(&format!("after {point} it is {state}"), LIMIT, || {
            (home.state(&id) == state).then_some(())
        });
        assert_true(home, &id, state, point);
        // The call that was cut off can be made again, and so can its opposite.
        for (verb, state) in [("pause", "paused"), ("resume", "running")] {
            let _ = home.ebb([verb, &id]).run().exited(0);
            assert_eq!(home.state(&id), state, "{point}");
        }
        assert_true(home, &id, "running", point);
        let _ = home.ebb(["doctor"]).run().exited(0);
        let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    }
}

fn purges(home: &TestHome) {
    for point in points("purge.") {
        let doomed = Doomed::start(home, point);
        let spared = home.create(&["--tag", "other"]);
        let named = [(); 2].map(|()| home.create(&["--tag", "gone"]));
        let plan = home.ebb(["purge", "--tag", "gone", "--json"]).run().json();
        let hash = plan["hash"].as_str().unwrap_or_default();
        let told = home.ebb(["purge", "--tag", "gone", "--confirm", hash]).run();
        doomed.assert_died();
        let is_purged = |sandbox: &Value| sandbox["reason"] == "purged" && sandbox["ended_at"].is_string();
        let purged = eventually(&format!("after {point} all of them are purged, or none"), LIMIT, || {
            let all = sandboxes(home);
            let purged = named.iter().filter(|id| is_purged(&all[id.as_str()])).count();
            let running = named.iter().filter(|id| all[id.as_str()]["state"] == "running").count();
            (purged == 2 || running == 2).then_some(purged == 2)
        });
        assert!(purged || told.code() != 0, "{point}: {} and nothing was purged", told.text());
        assert!(purged || point == "purge.look.after", "{point}: what was told to end did not");
        let _ = home.ebb(["purge", "--tag", "gone", "--yes"]).run().exited(0);
        let all = sandboxes(home);
        assert!(named.iter().all(|id| is_purged(&all[id.as_str()])), "{point}: {all:?}");
        assert_true(home, &spared, "running", point);
        let _ = home.ebb(["doctor"]).run().exited(0);
    }
}
