//! What clean-ups spare, and what not.

use std::time::Duration;

use ebbtide::{ConnectOptions, Connection, HomeLocation, Keep, KeepAs, SandboxDefaults, Session, Target};
use ebbtide_tests::{Machine, TestHome, eventually};

use crate::{LIMIT, ended, program};

fn session(home: &TestHome, keep: Keep) -> Session {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    let defaults = SandboxDefaults {
        keep: Some(keep),
        keep_for: Some(Duration::from_secs(30)),
        keep_as: Some(KeepAs::Running),
        ..Default::default()
    };
    Session::on(Connection::to(Target::Home(location), options), defaults)
}

#[tokio::test]
async fn a_session_that_closes_spares_what_is_to_be_kept_and_an_explicit_stop_does_not() {
    let machine = Machine::take();
    let home = machine.home();
    let session = session(&home, Keep::Always);
    let (kept, stopped) = (session.sandbox().unwrap(), session.sandbox().unwrap());
    kept.wait().await.unwrap();
    stopped.wait().await.unwrap();
    stopped.stop().await.unwrap();
    session.close().await.unwrap();
    session.close().await.unwrap();
    let (kept, stopped) = (kept.id().unwrap(), stopped.id().unwrap());
    let left = home.get(&kept);
    assert_eq!((&left["ownership"]["kind"], &left["state"]), (&"kept".into(), &"running".into()), "{left}");
    assert_eq!(left["deadlines"][0]["kind"], "keep", "{left}");
    assert_eq!(home.get(&stopped)["end"]["reason"], "stopped");
    assert_eq!(home.exec(&kept, "echo alive").run().ok(), "alive");
    let why = home.ebb(["why", &kept]).run().ok();
    assert!(why.contains("It is kept"), "{why}");
    let _ = home.ebb(["stop", "--grace", "0", &kept]).run().exited(0);
}

#[tokio::test]
async fn a_session_whose_sandboxes_are_not_to_be_kept_leaves_none() {
    let machine = Machine::take();
    let home = machine.home();
    // Made, not adopted.
    let session = session(&home, Keep::Attached);
    let sandbox = session.sandbox().unwrap();
    sandbox.wait().await.unwrap();
    session.close().await.unwrap();
    assert_eq!(home.get(&sandbox.id().unwrap())["end"]["reason"], "session_closed");
}

#[test]
fn what_a_killed_owner_leaves_is_kept_if_failures_are_to_be_and_has_an_end() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nkeep_for_seconds = 4\n");
    let environment = [("TEST_ORPHAN_GRACE", "1"), ("TEST_KEEP", "on_failure")];
    let mut program = program::at_home(&home, &environment);
    program.kill();
    let kept = eventually("it is kept", LIMIT, || {
        let sandbox = home.get(&program.id);
        (sandbox["ownership"]["kind"] == "kept").then_some(sandbox)
    });
    assert_eq!(kept["state"], "paused", "{kept}");
    assert_eq!(ended(&home, &program.id)["end"]["reason"], "keep_expired");
}

#[test]
fn the_environment_says_what_a_program_leaves() {
    let machine = Machine::take();
    let home = machine.home();
    let program = program::at_home(&home, &[("EBBTIDE_KEEP_SANDBOX", "1"), ("TEST_KEEP", "never")]);
    assert_eq!(home.get(&program.id)["policy"]["keep"], "always");
    let _ = home.ebb(["stop", "--grace", "0", &program.id]).run().exited(0);
}
