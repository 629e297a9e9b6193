//! A program that owns a sandbox, in a process of its own.

use ebbtide::Connection;
use ebbtide_tests::TestHome;
use ebbtide_tests::program::{Program, asked_for};

const NAME: &str = "program::owns_a_sandbox_until_it_is_killed";

/// One that calls the daemon of this home.
pub(crate) fn at_home(home: &TestHome, environment: &[(&str, &str)]) -> Program {
    Program::at_home(home, NAME, environment)
}

/// One with these variables: where its daemon is, and what its sandbox is like.
pub(crate) fn start(environment: &[(&str, &str)]) -> Program {
    Program::start(NAME, None, environment)
}

#[tokio::test]
#[ignore = "a part of the other tests, which run it in a process of its own"]
async fn owns_a_sandbox_until_it_is_killed() {
    let connection = Connection::from_env().unwrap();
    let sandbox = asked_for(&connection).tag("owned").run().await.unwrap();
    sandbox.wait().await.unwrap();
    println!("\nowns: {}", sandbox.id().unwrap());
    // Longer than any of the tests, the long ones too; its own end, should nobody be left who kills it.
    tokio::time::sleep(super::LIMIT * 10).await;
}
