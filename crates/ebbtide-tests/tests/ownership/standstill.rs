//! Helpers that are stopped, and a machine whose clock goes on while no daemon runs.

use std::ffi::OsString;
use std::time::Duration;

use ebbtide_tests::command::{Ebb, kill};
use ebbtide_tests::{Machine, Started, TestHome};
use rustix::process::Signal;

use crate::{ended, orphaned, program};

#[test]
fn an_orphan_that_is_adopted_while_its_init_is_stopped_lives_on() {
    let machine = Machine::take();
    let home = machine.home();
    let mut program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "4")]);
    let init = home.init_of(&program.id);
    program.kill();
    orphaned(&home, &program.id);
    kill(init, Signal::STOP);
    let heir = Started::idle();
    let adopting = home.ebb(["adopt", &program.id, "--owner", &heir.pid().to_string()]).spawn();
    // Past the grace, as init counts it.
    std::thread::sleep(Duration::from_secs(6));
    kill(init, Signal::CONT);
    let _ = adopting.wait().exited(0);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(home.exec(&program.id, "echo alive").run().ok(), "alive");
    drop(heir);
    assert_eq!(ended(&home, &program.id)["end"]["reason"], "owner_gone");
}

/// Starts a daemon whose boot clock is half a day ahead, as after so much sleep.
fn start_half_a_day_later(home: &TestHome) {
    let args = ["--time", "--boottime", "43200"].map(Into::into);
    let args = args.into_iter().chain([home.binary().into(), OsString::from("list")]);
    let _ = Ebb::new("unshare", args).env("EBBTIDE_HOME", home.state_dir()).run().exited(0);
}

#[test]
fn half_a_day_of_sleep_between_two_daemons_ends_what_was_to_live_for_less_and_nothing_else() {
    let machine = Machine::take();
    let home = machine.home();
    let short = home.create(&["--detach"]);
    let long = home.create(&["--lifetime", "86400"]);
    home.kill_daemon();
    start_half_a_day_later(&home);
    assert_eq!(ended(&home, &short)["end"]["reason"], "lifetime_expired");
    assert_eq!(home.exec(&long, "echo alive").run().ok(), "alive");
    let _ = home.ebb(["stop", "--grace", "0", &long]).run().exited(0);
}
