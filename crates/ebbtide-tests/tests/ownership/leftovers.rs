//! What stays behind where an owner dies together with daemon and launcher: directories and files, until the next command.

use ebbtide_tests::{Machine, Started, TestHome, eventually};

use crate::LIMIT;

/// Every verb that asks a daemon, with what it is given; `ID` is the sandbox, whose end the next daemon records meanwhile.
const ASKING: [&[&str]; 16] = [
    &["list"],
    &["get", "ID"],
    &["why", "ID"],
    &["receipt", "ID"],
    &["logs", "ID"],
    &["events"],
    &["stop", "ID"],
    &["purge", "--all"],
    &["adopt", "ID"],
    &["pause", "ID"],
    &["resume", "ID"],
    &["exec", "ID", "--", "true"],
    &["cp", "ID:/etc/hostname", "/nonexistent"],
    &["create"],
    &["run", "--", "true"],
    &["shutdown"],
];

/// Those that ask none, and so take nothing away.
const OTHERS: [&[&str]; 4] = [&["image", "list"], &["key", "list"], &["completions", "bash"], &["--version"]];

/// A sandbox whose owner, daemon and launcher are gone, and whose init is.
fn abandoned(home: &TestHome) -> String {
    let owner = Started::idle();
    let id = home.create(&["--orphan-grace", "0", "--owner", &owner.pid().to_string()]);
    home.kill_daemon();
    home.kill_launcher();
    drop(owner);
    // Else a command would have nothing to take away.
    doctor_comes_to_exit(home, 1, "its init has ended");
    id
}

fn doctor_comes_to_exit(home: &TestHome, code: i32, when: &str) {
    eventually(when, LIMIT, || (home.ebb(["doctor"]).run().code() == code).then_some(()));
}

#[test]
fn the_next_command_of_any_verb_that_asks_a_daemon_takes_away_what_is_left() {
    let machine = Machine::take();
    let homes = [(); 4].map(|()| machine.home());
    std::thread::scope(|scope| {
        for (home, verbs) in homes.iter().zip(ASKING.chunks(4)) {
            scope.spawn(move || {
                // Nothing made ahead: an init that nobody has claimed waits for its launcher a while.
                home.configure("[runtime]\npool_slots = 0\n");
                for words in verbs {
                    let id = abandoned(home);
                    let words = words.iter().map(|word| word.replace("ID", &id)).collect::<Vec<_>>();
                    let output = home.ebb(words.iter().map(String::as_str)).run();
                    // Refused where it is asked of what has ended, but understood.
                    assert!([0, 125].contains(&output.code()), "{words:?}: {}", output.error());
                    doctor_comes_to_exit(home, 0, &format!("nothing is left after {words:?}"));
                    let _ = home.ebb(["purge", "--all", "--yes"]).run().exited(0);
                }
            });
        }
    });
    let home = &homes[0];
    let _ = abandoned(home);
    for words in OTHERS {
        let _ = home.ebb(words.iter().copied()).run().exited(0);
        let _ = home.ebb(["doctor"]).run().exited(1);
    }
    let _ = home.ebb(["doctor", "--fix"]).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
}
