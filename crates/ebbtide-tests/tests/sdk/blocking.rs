//! The same without `async`.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use ebbtide::blocking::{Sandbox, Session};
use ebbtide::{ErrorKind, ListOptions, SandboxDefaults, SandboxState};
use ebbtide_tests::{Machine, TestHome};

use crate::connection;

fn use_it(home: &TestHome) {
    let connection = connection(home);
    let sandbox = Sandbox::builder().connection(connection.clone()).tag("b").run().unwrap();
    assert_eq!(sandbox.wait().unwrap().state, SandboxState::Running);
    let mut process = sandbox.exec(["sh", "-c", "cat; echo err >&2; exit 2"]).stdin().start().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    stdin.close().unwrap();
    let mut said = String::new();
    process.stdout.read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), process.wait().unwrap()), ("hello\n", 2));
    let pieces: Vec<u8> = process.stderr.clone().flat_map(|piece| piece.unwrap()).collect();
    assert_eq!(pieces, b"err\n");
    let echoed = sandbox.exec(["cat"]).output_of("x").unwrap();
    assert_eq!(echoed.stdout, b"x");
    let late = sandbox.exec(["sleep", "60"]).timeout(Duration::from_millis(200)).output().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::CommandTimeout);
    let listed = Sandbox::list_on(&connection, ListOptions::tagged(["b"])).unwrap();
    assert_eq!(listed[0].id(), sandbox.id());
    sandbox.scope(|sandbox| sandbox.exec(["true"]).check().output()).unwrap();
    let session = Session::on(connection, SandboxDefaults::default());
    let said = session.scope(|session| session.sandbox()?.exec(["echo", "hi"]).output()).unwrap();
    assert!(said.success() && session.is_closed());
    assert_eq!(home.live(), 0);
}

#[test]
fn blocking_calls_work_outside_of_any_runtime() {
    let machine = Machine::take();
    use_it(&machine.home());
}

#[test]
fn blocking_calls_work_inside_of_a_runtime_that_they_block() {
    let machine = Machine::take();
    let home = machine.home();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { use_it(&home) });
}
