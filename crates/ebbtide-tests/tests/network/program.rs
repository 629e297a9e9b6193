//! A program that owns a sandbox over the network, in a process of its own, and does what it is told.

use std::sync::Arc;

use ebbtide::{Connection, Error, Sandbox};
use ebbtide_tests::Space;
use ebbtide_tests::program::{Program, asked_for};
use tokio::io::AsyncBufReadExt as _;

/// How many lines its command writes, a tenth of a second each.
pub(crate) const LINES: usize = 60;

/// One in this place, with these variables.
pub(crate) fn start(place: &Space, environment: &[(&str, &str)]) -> Program {
    Program::start("program::does_what_it_is_told", Some(place), environment)
}

#[tokio::test]
#[ignore = "a part of the other tests, which run it in a process of its own"]
async fn does_what_it_is_told() {
    let connection = Connection::from_env().unwrap();
    let [sandbox, second] = [(); 2].map(|()| Arc::new(asked_for(&connection).build().unwrap()));
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
