//! A program that owns a sandbox over the network, in a process of its own, and does what it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ebbtide::{Connection, Error, Keep, Sandbox, SandboxBuilder};
use ebbtide_tests::{Space, Started};
use tokio::io::AsyncBufReadExt as _;

use crate::LIMIT;

/// How many lines its command writes, a tenth of a second each.
pub(crate) const LINES: usize = 60;

/// The program, killed at the end of the test.
pub(crate) struct Program {
    process: Started,
    orders: ChildStdin,
    answers: Receiver<String>,
    /// The sandbox that it has made.
    pub(crate) id: String,
}

impl Program {
    pub(crate) fn start(place: &Space, environment: &[(&str, &str)]) -> Self {
        // This test's own executable, with only the test below.
        let mut command = place.command(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", "program::does_what_it_is_told"])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Started::new(&mut command);
        let (lines, answers) = channel();
        let stdout = BufReader::new(process.stdout());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let orders = process.stdin();
        let mut program = Self { process, orders, answers, id: String::new() };
        program.id = program.answer("owns", LIMIT);
        program
    }

    /// Tells it to do something.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What it says of something that it does.
    pub(crate) fn answer(&self, to: &str, limit: Duration) -> String {
        loop {
            let line = self.answers.recv_timeout(limit);
            let line = line.unwrap_or_else(|_| panic!("no answer to {to:?} within {limit:?}"));
            if let Some((order, said)) = line.split_once(": ")
                && order == to
            {
                return said.to_owned();
            }
        }
    }

    /// Does something and says what came of it.
    pub(crate) fn does(&mut self, order: &str) -> String {
        self.order(order);
        self.answer(order, LIMIT)
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

#[tokio::test]
#[ignore = "a part of the other tests, which run it in a process of its own"]
async fn does_what_it_is_told() {
    let connection = Connection::from_env().unwrap();
    let [sandbox, second] = [(); 2].map(|()| Arc::new(builder(&connection).build().unwrap()));
    sandbox.wait().await.unwrap();
    println!("\nowns: {}", sandbox.id().unwrap());
    let mut orders = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await.unwrap() {
        let (sandbox, second) = (Arc::clone(&sandbox), Arc::clone(&second));
        tokio::spawn(async move {
            match follow(&order, &sandbox, &second).await {
                Ok(said) => println!("\n{order}: {said}"),
                Err(error) => println!("\n{order}: {:?}", error.kind()),
            }
        });
    }
}

fn builder(connection: &Connection) -> SandboxBuilder {
    let mut builder = Sandbox::builder().connection(connection.clone());
    if let Ok(grace) = std::env::var("TEST_ORPHAN_GRACE") {
        builder = builder.orphan_grace(Duration::from_secs(grace.parse().unwrap()));
    }
    if let Ok(keep) = std::env::var("TEST_KEEP") {
        builder = builder.keep(keep.parse::<Keep>().unwrap());
    }
    builder
}

async fn follow(order: &str, sandbox: &Sandbox, second: &Sandbox) -> Result<String, Error> {
    match order {
        "exec" => Ok(sandbox.exec(["echo", "alive"]).output().await?.stdout_text().trim().to_owned()),
        "stream" => {
            let script = format!("for i in $(seq {LINES}); do echo $i; sleep 0.1; done");
            let process = sandbox.exec(["sh", "-c", &script]).start().await?;
            println!("\nstream: begun");
            let output = process.output().await?;
            Ok(format!("{} lines", output.stdout_text().lines().count()))
        }
        "create" => {
            second.start().await?;
            Ok(second.id().unwrap())
        }
        "describe" => {
            let described = sandbox.describe().await?;
            let mine = described.ownership.holder.is_some_and(|holder| holder.mine);
            let reason = described.end.map(|end| end.reason).unwrap_or_default();
            Ok(format!("{} {mine} {reason}", described.ownership.kind).trim().to_owned())
        }
        "adopt" => Ok(sandbox.adopt().await?.ownership.kind.to_string()),
        "resume" => Ok(sandbox.resume().await?.sandbox.state.to_string()),
        other => panic!("{other:?} is no order"),
    }
}
