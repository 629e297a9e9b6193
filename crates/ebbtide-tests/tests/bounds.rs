//! A sandbox that goes past a bound gets the error inside; the next command works, and nobody else notices.

use std::time::Duration;

use ebbtide_tests::{Machine, TestHome, eventually};

/// What the neighbour does must go on.
fn neighbour(home: &TestHome) -> String {
    let id = home.create(&[]);
    let _ = home.exec(&id, "echo mine >/tmp/mine").run().exited(0);
    id
}

fn unaffected(home: &TestHome, id: &str) {
    assert_eq!(home.exec(id, "cat /tmp/mine").run().ok(), "mine", "the neighbour is affected");
}

#[test]
fn memory_past_the_bound_ends_the_command_and_not_the_sandbox() {
    let machine = Machine::take();
    let home = machine.home();
    let other = neighbour(&home);
    let id = home.create(&["--memory", "64Mi"]);
    let hungry = "python3 -c 'x = bytearray(300 << 20); print(len(x))'";
    let output = home.exec(&id, hungry).run();
    assert!(output.code() != 0, "300 MiB in a sandbox of 64: {}", output.text());
    assert_eq!(home.exec(&id, "echo next").run().ok(), "next");
    assert_eq!(home.state(&id), "running");
    unaffected(&home, &other);
}

#[test]
fn processes_past_the_bound_cannot_be_made_and_the_next_command_can() {
    let machine = Machine::take();
    let home = machine.home();
    let other = neighbour(&home);
    let id = home.create(&[]);
    let bomb = r"
import os, time, signal
children = []
try:
    while len(children) < 5000:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
    print('unbounded')
except OSError as error:
    print(error.errno)
for pid in children:
    os.kill(pid, 9)
for pid in children:
    os.waitpid(pid, 0)
";
    let output = home.ebb(["exec", &id, "--", "python3", "-c", bomb]).run();
    assert_eq!(output.ok(), "11", "EAGAIN was expected");
    assert_eq!(home.exec(&id, "echo next").run().ok(), "next");
    unaffected(&home, &other);
}

#[test]
fn terminals_past_the_bound_cannot_be_made_and_the_next_command_can() {
    let machine = Machine::take();
    let home = machine.home();
    let other = neighbour(&home);
    let id = home.create(&[]);
    let hoard = r"
import os
terminals = []
try:
    while len(terminals) < 900:
        terminals.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
    print('unbounded')
except OSError as error:
    print(len(terminals), error.errno)
";
    let output = home.ebb(["exec", &id, "--", "python3", "-c", hoard]).run();
    assert_eq!(output.ok(), "256 28", "ENOSPC was expected after 256");
    assert_eq!(home.exec(&id, "echo next").run().ok(), "next");
    unaffected(&home, &other);
}

#[test]
fn a_write_past_the_disk_bound_fails_inside_and_room_can_be_made() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[defaults]\ndisk = \"64Mi\"\n");
    let other = neighbour(&home);
    let id = home.create(&[]);
    let fill = "dd if=/dev/urandom of=/var/tmp/big bs=1M count=200 2>&1; sync; ls -l /var/tmp/big";
    let output = home.exec(&id, fill).run().text();
    assert!(output.contains("No space left") || output.contains("quota exceeded"), "{output}");
    assert_eq!(home.exec(&id, "echo next").run().ok(), "next");
    unaffected(&home, &other);
    let _ =
        home.exec(&other, "dd if=/dev/urandom of=/var/tmp/mine bs=1M count=20 2>/dev/null").run().exited(0);
    let _ = home
        .exec(&id, "rm /var/tmp/big; sync; echo small >/var/tmp/small && cat /var/tmp/small")
        .run()
        .exited(0);
}

#[test]
fn a_lifetime_that_is_over_ends_the_sandbox() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--lifetime", "2"]);
    let sandbox = eventually("the lifetime ends the sandbox", Duration::from_secs(20), || {
        let sandbox = home.get(&id);
        (sandbox["state"] == "completed").then_some(sandbox)
    });
    assert_eq!(sandbox["reason"], "lifetime_expired");
    assert!(home.processes("ebb-init").len() <= 8, "its init is left");
    let refused = home.exec(&id, "true").run().exited(125);
    assert!(refused.error().contains(&id), "{}", refused.error());
}

#[test]
fn a_main_command_in_a_tight_loop_does_not_outlive_its_lifetime() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--lifetime", "3", "--", "sh", "-c", "trap '' TERM; while :; do :; done"]);
    eventually("the lifetime ends the sandbox", Duration::from_secs(30), || {
        (home.get(&id)["reason"] == "lifetime_expired" && home.state(&id) == "completed").then_some(())
    });
}

#[test]
fn the_bounds_of_a_sandbox_are_its_own_whatever_the_one_before_had() {
    let machine = Machine::take();
    let home = machine.home();
    let take = "x = bytearray(150 << 20); print(len(x) >> 20)";
    for _ in 0..3 {
        for (memory, fits) in [("64Mi", false), ("512Mi", true), ("100Mi", false), ("1Gi", true)] {
            let output = home.ebb(["run", "--memory", memory, "--", "python3", "-c", take]).run();
            assert_eq!(output.code() == 0, fits, "{memory}: {}", output.error());
        }
    }
}
