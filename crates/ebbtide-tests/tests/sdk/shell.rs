//! A shell on a terminal, by the sandbox's handle.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use ebbtide::{ProcessOutput, StopOptions, WindowSize, blocking};
use ebbtide_tests::Machine;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::{builder, connection};

const LIMIT: Duration = Duration::from_secs(30);
const SIZE: WindowSize = WindowSize { columns: 100, rows: 30 };

/// Reads what the terminal shows until these words are part of it.
async fn shows(screen: &ProcessOutput, words: &str) {
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(words) {
        let piece = timeout(LIMIT, screen.next()).await;
        assert!(piece.is_ok(), "no {words:?} in {}", String::from_utf8_lossy(&shown));
        let piece = piece.unwrap().unwrap();
        assert!(piece.is_some(), "no {words:?} in {}", String::from_utf8_lossy(&shown));
        shown.extend(piece.unwrap_or_default());
    }
}

#[tokio::test]
async fn a_shell_has_a_terminal_of_the_size_that_it_was_given_last() {
    let machine = Machine::take();
    let home = machine.home();
    // The first use starts it.
    let sandbox = builder(&home).build().unwrap();
    let mut shell = sandbox.shell(SIZE).env("PS1", "$ ").start().await.unwrap();
    let mut keyboard = shell.stdin.take().unwrap();
    let screen = shell.stdout.clone();
    // The words are put together by the shell, so that what is typed is not taken for what is said.
    keyboard.write_all(b"echo size: $(stty size)\r").await.unwrap();
    shows(&screen, "size: 30 100").await;
    // While a command runs: a shell that edits its line sets the size that it has just read, and may undo a change.
    keyboard
        .write_all(b"echo be''gun; until stty size | grep -q '22 77'; do sleep 0.05; done; echo re''sized\r")
        .await
        .unwrap();
    shows(&screen, "begun").await;
    assert!(shell.resize(WindowSize { columns: 77, rows: 22 }).await);
    shows(&screen, "resized").await;
    let program = "sh -c 'trap \"exit 7\" INT; echo wait\"\"ing; while :; do sleep 0.05; done'; exit $?\r";
    keyboard.write_all(program.as_bytes()).await.unwrap();
    shows(&screen, "waiting").await;
    // Ctrl-C, for the program.
    keyboard.write_all(b"\x03").await.unwrap();
    assert_eq!(timeout(LIMIT, shell.wait()).await.unwrap().unwrap(), 7);
    assert_eq!(shell.stderr.next().await.unwrap(), None, "a terminal has one output");
    assert!(keyboard.write_all(b"x").await.is_err(), "nobody is at the keyboard any more");
    sandbox.stop_with(StopOptions::now()).await.unwrap();
    home.shutdown();
    machine.assert_nothing_left();
}

#[tokio::test]
async fn a_shell_ends_with_its_handles() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).build().unwrap();
    let mut shell = sandbox.shell(SIZE).start().await.unwrap();
    let mut keyboard = shell.stdin.take().unwrap();
    keyboard.write_all(b"echo re''ady; exec sleep 66\r").await.unwrap();
    shows(&shell.stdout, "ready").await;
    drop((shell, keyboard));
    let gone = "until ! pgrep -fx 'sleep 66'; do sleep 0.05; done";
    sandbox.exec(["sh", "-c", gone]).timeout(LIMIT).check().output().await.unwrap();
    sandbox.stop_with(StopOptions::now()).await.unwrap();
}

#[test]
fn a_shell_is_used_without_async_too() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = blocking::Sandbox::builder().connection(connection(&home)).run().unwrap();
    let mut shell = sandbox.shell(SIZE).start().unwrap();
    let mut keyboard = shell.stdin.take().unwrap();
    let until = b"echo be''gun; until stty size | grep -q '25 80'; do sleep 0.05; done; exit 6\r";
    keyboard.write_all(until).unwrap();
    let mut lines = BufReader::new(shell.stdout.clone()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("begun")));
    assert!(shell.resize(WindowSize { columns: 80, rows: 25 }));
    assert_eq!(shell.wait().unwrap(), 6);
    sandbox.stop().unwrap();
}
