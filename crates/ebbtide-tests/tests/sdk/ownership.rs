//! What is left when a program lets go of its sandboxes: nothing.

use std::time::Duration;

use ebbtide::{Connection, registry};
use ebbtide_tests::{Machine, Program, eventually};

use crate::builder;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_sandbox_ends_with_its_last_handle() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).run().await.unwrap();
    let other = sandbox.clone();
    drop(sandbox);
    assert!(registry::pending().is_empty());
    other.exec(["true"]).check().output().await.unwrap();
    drop(other);
    assert!(registry::settled(LIMIT).await);
    assert!(registry::not_stopped().is_empty());
    assert_eq!(home.live(), 0);
}

#[tokio::test]
async fn a_start_that_was_given_up_leaves_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    // So that the daemon is there, and the time of its start is not what the attempts are measured against.
    builder(&home).run().await.unwrap().stop().await.unwrap();
    for micros in (0..2000).step_by(100) {
        let sandbox = builder(&home).build().unwrap();
        let _ = tokio::time::timeout(Duration::from_micros(micros), sandbox.start()).await;
    }
    eventually("nothing is left", LIMIT, || (home.live() == 0).then_some(()));
    assert!(registry::settled(LIMIT).await && registry::not_stopped().is_empty());
}

#[tokio::test]
async fn a_detached_sandbox_lives_on_without_its_handle_and_has_no_owner() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).detach().run().await.unwrap();
    let id = sandbox.id().unwrap();
    drop(sandbox);
    assert!(registry::settled(LIMIT).await);
    let left = home.get(&id);
    assert!(left["owner_pid"].is_null() && left["ended_at"].is_null(), "{left}");
    let _ = home.ebb(["stop", &id]).run().ok();
}

#[test]
fn a_program_that_is_killed_leaves_nothing_after_the_grace_period() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nowner_grace_seconds = 1\n");
    let mut program = Program::at_home(&home, "ownership::holds_a_sandbox_until_it_is_killed", &[]);
    assert_eq!(home.get(&program.id)["owner_pid"], program.pid());
    program.kill();
    eventually("the sandbox has gone", LIMIT, || (home.live() == 0).then_some(()));
    assert_eq!(home.get(&program.id)["end"]["reason"], "owner_gone");
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
async fn holds_a_sandbox_until_it_is_killed() {
    let sandbox =
        ebbtide::Sandbox::builder().connection(Connection::from_env().unwrap()).run().await.unwrap();
    println!("\nowns: {}", sandbox.id().unwrap());
    tokio::time::sleep(LIMIT).await;
}
