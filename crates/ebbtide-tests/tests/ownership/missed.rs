//! How soon a dead owner is missed, by the times that are on record: how long a listing takes on a busy machine is another
//! question. Of five the one in the middle counts.

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdin, Command, Stdio};

use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, Started, TestHome};
use jiff::{SignedDuration, Timestamp};

use crate::{orphaned, program};

/// How long after this end of its owner a sandbox is an orphan.
fn missed_after(home: &TestHome, id: &str, end_owner: impl FnOnce()) -> SignedDuration {
    let ends = Timestamp::now();
    end_owner();
    let orphan = orphaned(home, id);
    assert_eq!(orphan["ownership"]["reason"], "process_ended", "{orphan}");
    let since: Timestamp = orphan["ownership"]["since"].as_str().unwrap().parse().unwrap();
    since.duration_since(ends)
}

fn assert_within_a_second(mut all: [SignedDuration; 5]) {
    all.sort();
    assert!(all[2] < SignedDuration::from_secs(1), "orphans only after {all:?}");
}

#[test]
fn a_program_that_is_killed_is_missed_within_a_second() {
    let machine = Machine::take();
    let home = machine.home();
    let programs = [(); 5].map(|()| program::at_home(&home, &[]));
    assert_within_a_second(programs.map(|mut program| {
        let id = program.id.clone();
        missed_after(&home, &id, || program.kill())
    }));
}

/// A process with a child that it has forked, and that lives on without it.
struct Forked {
    parent: Started,
    child: u32,
    /// What the child waits for the end of.
    _input: ChildStdin,
}

impl Forked {
    fn new() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<&0; (read end <&3) & echo $!; wait"]);
        let mut parent = Started::new(shell.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(parent.stdout()).read_line(&mut line).unwrap();
        let child = line.trim().parse().unwrap();
        let input = parent.stdin();
        Self { parent, child, _input: input }
    }
}

#[test]
fn a_process_that_is_killed_is_missed_within_a_second_although_a_child_that_it_has_forked_lives() {
    let machine = Machine::take();
    let home = machine.home();
    let owners = [(); 5].map(|()| Forked::new());
    assert_within_a_second(owners.map(|mut owner| {
        let id = home.create(&["--owner", &owner.parent.pid().to_string()]);
        let after = missed_after(&home, &id, || owner.parent.kill());
        assert!(is_alive(owner.child), "its child has gone with it");
        after
    }));
}
