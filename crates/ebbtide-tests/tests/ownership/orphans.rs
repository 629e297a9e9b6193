//! An owner that goes, or only seems to.

use std::time::{Duration, Instant};

use ebbtide_tests::{Machine, eventually, home::is_alive};
use rustix::process::Signal;

use crate::{LIMIT, ended, orphaned, orphans, program};

#[test]
fn a_sandbox_is_an_orphan_when_its_owner_was_killed_and_gone_after_the_grace_period() {
    let machine = Machine::take();
    let home = machine.home();
    let mut program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "5")]);
    let owned = home.get(&program.id);
    assert_eq!(owned["ownership"]["kind"], "owned", "{owned}");
    assert_eq!(owned["ownership"]["holder"]["pid"], program.pid(), "{owned}");
    assert!(orphans(&home).is_empty());
    program.kill();
    let killed = Instant::now();
    eventually("it is listed as an orphan", LIMIT, || {
        (orphans(&home) == [program.id.as_str()]).then_some(())
    });
    let orphan = home.get(&program.id);
    assert_eq!(orphan["ownership"]["reason"], "process_ended", "{orphan}");
    let gone = ended(&home, &program.id);
    assert_eq!(gone["end"]["reason"], "owner_gone", "{gone}");
    assert!(killed.elapsed() > Duration::from_secs(4), "gone before its time: {:?}", killed.elapsed());
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn an_owner_that_stands_still_is_no_dead_one() {
    let machine = Machine::take();
    let home = machine.home();
    let program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "1")]);
    program.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(home.get(&program.id)["ownership"]["kind"], "owned");
    assert_eq!(home.exec(&program.id, "echo alive").run().ok(), "alive");
    program.signal(Signal::CONT);
}

#[test]
fn a_daemon_that_is_replaced_knows_the_owner_again_and_sees_its_end() {
    let machine = Machine::take();
    let home = machine.home();
    let mut program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "20")]);
    home.kill_daemon();
    assert_eq!(home.get(&program.id)["ownership"]["kind"], "owned");
    home.kill_daemon();
    // While no daemon looks.
    program.kill();
    let orphan = orphaned(&home, &program.id);
    assert_eq!(orphan["ownership"]["reason"], "process_ended", "{orphan}");
    let _ = home.ebb(["adopt", "--detach", &program.id]).run().exited(0);
}

#[test]
fn an_owner_killed_together_with_daemon_and_launcher_leaves_nothing_although_nobody_runs_a_command() {
    let machine = Machine::take();
    let home = machine.home();
    let mut program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "2")]);
    let init = home.init_of(&program.id);
    home.kill_daemon();
    home.kill_launcher();
    program.kill();
    eventually("its init is gone", LIMIT, || (!is_alive(init)).then_some(()));
    eventually("no init is left", LIMIT, || home.processes("ebb-init").is_empty().then_some(()));
    assert!(home.daemon().is_none(), "somebody started a daemon");
    // What is left are empty directories and files, which the next command takes away.
    let _ = home.ebb(["list"]).run().exited(0);
    let report = home.ebb(["doctor", "--json"]).run().json();
    assert_eq!(report["leaks"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(ended(&home, &program.id)["end"]["reason"], "owner_gone");
}

#[test]
fn the_grace_period_of_a_daemon_is_what_its_environment_says() {
    let machine = Machine::take();
    let home = machine.home().with_env("EBBTIDE_ORPHAN_GRACE", "3");
    let mut program = {
        let _ = home.ebb(["list"]).run().exited(0);
        program::at_home(&home, &[])
    };
    assert_eq!(home.get(&program.id)["policy"]["orphan_grace_seconds"], 3);
    program.kill();
    assert_eq!(ended(&home, &program.id)["end"]["reason"], "owner_gone");
    for grace in ["soon", "-1", "99999999"] {
        let refused = home.ebb(["serve"]).env("EBBTIDE_ORPHAN_GRACE", grace).run();
        assert!(refused.code() == 125 && !refused.error().is_empty(), "{grace}: {}", refused.error());
    }
}

#[test]
fn what_no_daemon_would_grant_is_refused_and_makes_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    for (options, code) in [
        (&["--keep", "sometimes"][..], 2),
        (&["--keep-as", "a-memory"], 2),
        (&["--on-idle", "stop"], 2),
        (&["--orphan-grace", "-1"], 2),
        (&["--orphan-grace", "NaN"], 2),
        (&["--orphan-grace", "inf"], 2),
        (&["--keep-for", "0"], 2),
        (&["--orphan-grace", "99999999"], 125),
        (&["--detach", "--lifetime", "99999999"], 125),
        (&["--detach", "--owner", "1"], 2),
    ] {
        let refused = home.ebb(["create"].into_iter().chain(options.iter().copied())).run().exited(code);
        assert!(!refused.error().is_empty());
    }
    let refused = home.ebb(["create"]).env("EBBTIDE_KEEP_SANDBOX", "perhaps").run().exited(125);
    assert!(refused.error().contains("EBBTIDE_KEEP_SANDBOX"), "{}", refused.error());
    assert_eq!(home.live(), 0);
}
