//! A program that owns a sandbox, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide::{Connection, Keep, Sandbox};
use ebbtide_tests::{Started, TestHome};
use rustix::process::Signal;

/// The program, killed at the end of the test.
pub(crate) struct Program {
    process: Started,
    /// The sandbox that it owns.
    pub(crate) id: String,
}

impl Program {
    /// One that calls the daemon of this home.
    pub(crate) fn at_home(home: &TestHome, environment: &[(&str, &str)]) -> Self {
        let state = home.state_dir();
        let home =
            [("EBBTIDE_HOME", state.to_str().unwrap()), ("EBBTIDE_BIN", home.binary().to_str().unwrap())];
        Self::start(&[&home, environment].concat())
    }

    /// One with these variables: where its daemon is, and what its sandbox is like.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        // This test's own executable, with only the test below.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", "program::owns_a_sandbox_until_it_is_killed"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped());
        let mut process = Started::new(&mut command);
        let lines = BufReader::new(process.stdout()).lines().map_while(Result::ok);
        let id = lines.filter_map(|line| Some(line.strip_prefix("owns ")?.to_owned())).next();
        Self { id: id.unwrap(), process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

#[tokio::test]
#[ignore = "a part of the other tests, which run it in a process of its own"]
async fn owns_a_sandbox_until_it_is_killed() {
    let connection = Connection::from_env().unwrap();
    let mut builder = Sandbox::builder().connection(connection).tag("owned");
    if let Ok(grace) = std::env::var("TEST_ORPHAN_GRACE") {
        builder = builder.orphan_grace(Duration::from_secs(grace.parse().unwrap()));
    }
    if let Ok(keep) = std::env::var("TEST_KEEP") {
        builder = builder.keep(keep.parse::<Keep>().unwrap());
    }
    let sandbox = builder.run().await.unwrap();
    sandbox.wait().await.unwrap();
    println!("\nowns {}", sandbox.id().unwrap());
    tokio::time::sleep(super::LIMIT * 2).await;
}
