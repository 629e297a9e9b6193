//! Owners: processes that a sandbox is tied to, and programs that hold a lease.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide::{Connection, Sandbox};
use ebbtide_tests::Started;

use crate::home::Home;

/// A process that lives until it is dropped.
pub(crate) struct Owner(Started);

impl Owner {
    /// A process that does nothing.
    pub(crate) fn idle() -> Self {
        Self(Started::idle())
    }

    /// A program that makes a sandbox by the library and holds its lease; with the id of that sandbox.
    pub(crate) fn of_a_lease(home: &Home) -> (Self, String) {
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command
            .arg("own")
            .env("EBBTIDE_HOME", home.state_dir())
            .env("EBBTIDE_BIN", home.binary())
            .stdout(Stdio::piped());
        let mut process = Started::new(&mut command);
        let lines = BufReader::new(process.stdout()).lines().map_while(Result::ok);
        let id = lines.filter_map(|line| Some(line.strip_prefix("owns ")?.to_owned())).next();
        (Self(process), id.expect("the program made no sandbox"))
    }

    /// Its number, as an argument.
    pub(crate) fn pid(&self) -> String {
        self.0.pid().to_string()
    }
}

/// The program itself: makes a sandbox, says its id, and lives on.
pub(crate) fn own() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let connection = Connection::from_env().expect("a home");
        let sandbox = Sandbox::builder().connection(connection).tag("leased").run().await.expect("a sandbox");
        sandbox.wait().await.expect("the sandbox runs");
        println!("owns {}", sandbox.id().expect("the id of the sandbox"));
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    });
}
