//! The steps by which a sandbox is kept, and what becomes of one that is kept when daemons come and go.

use std::time::Duration;

use ebbtide_tests::{Machine, Started, command::binary_with_fail_points, eventually, holds_within};

use crate::{Doomed, LIMIT, assert_true, points};

#[test]
fn a_daemon_that_dies_while_it_keeps_what_an_owner_has_left_is_followed_by_one_that_keeps_it() {
    let machine = Machine::take();
    let home = machine.home().with_binary(binary_with_fail_points());
    let mut kept = Vec::new();
    for (point, keep_as) in points("keep.").zip(["paused", "running", "paused"]) {
        let doomed = Doomed::start(&home, point);
        let owner = Started::idle();
        let pid = owner.pid().to_string();
        let policy = ["--keep", "always", "--keep-as", keep_as, "--keep-for", "12", "--orphan-grace", "1"];
        let id = home.create(&[&["--owner", pid.as_str()], &policy[..]].concat());
        drop(owner);
        // No command is needed for that.
        doomed.assert_died();
        let sandbox = eventually("the next daemon keeps it", LIMIT, || {
            let sandbox = home.get(&id);
            (sandbox["ownership"]["kind"] == "kept").then_some(sandbox)
        });
        assert_eq!(
            sandbox["state"],
            if keep_as == "paused" { "paused" } else { "running" },
            "{point}: {sandbox}"
        );
        assert_true(&home, &id, sandbox["state"].as_str().unwrap_or_default(), point);
        kept.push((id, sandbox["deadlines"].clone()));
        let _ = home.ebb(["doctor"]).run().exited(0);
    }
    // Under the next daemon each is kept for as long as under the one before, and then goes.
    home.kill_daemon();
    for (id, deadlines) in &kept {
        let sandbox = home.get(id);
        assert!(
            sandbox["ended_at"].is_string() || sandbox["deadlines"] == *deadlines,
            "{deadlines} were its deadlines: {sandbox}"
        );
    }
    for (id, _) in &kept {
        let sandbox = eventually("it has been kept for long enough", LIMIT, || {
            let sandbox = home.get(id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(sandbox["end"]["reason"], "keep_expired", "{sandbox}");
    }
    let gone = holds_within(Duration::from_secs(10), || home.live() == 0);
    assert!(gone, "something is kept for ever");
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn a_daemon_that_dies_while_it_keeps_what_a_failed_main_command_has_left_is_followed_by_one_that_keeps_it() {
    let machine = Machine::take();
    let home = machine.home().with_binary(binary_with_fail_points());
    for point in points("keep.") {
        let doomed = Doomed::start(&home, point);
        let script = "echo half > /tmp/result; sleep 0.5; exit 3";
        let id = home.create(&["--keep", "on_failure", "--keep-for", "60", "--", "sh", "-c", script]);
        doomed.assert_died();
        let sandbox = eventually("the next daemon keeps it", LIMIT, || {
            let sandbox = home.get(&id);
            (sandbox["ownership"]["kind"] == "kept").then_some(sandbox)
        });
        let shown = (&sandbox["state"], &sandbox["exit_code"], &sandbox["main_end"]["exit_code"]);
        assert_eq!(shown, (&"completed".into(), &3.into(), &3.into()), "{point}: {sandbox}");
        assert_eq!(home.exec(&id, "cat /tmp/result").run().ok(), "half", "{point}");
        let _ = home.ebb(["doctor"]).run().exited(0);
        let _ = home.ebb(["stop", &id]).run().exited(0);
        let ended = home.get(&id);
        assert_eq!(ended["end"]["reason"], "main_exited", "{point}: {ended}");
        assert_eq!(ended["end"]["receipt"]["left"], serde_json::json!([]), "{point}: {ended}");
    }
    home.shutdown();
    machine.assert_nothing_left();
}
