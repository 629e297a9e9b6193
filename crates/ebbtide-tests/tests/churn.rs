//! Sandboxes come and go: what serves them does not grow.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;

use ebbtide_tests::{Machine, TestHome, scale};

/// What a daemon and a launcher hold, and what they have made.
#[derive(Debug)]
struct Held {
    /// Of the daemon and of the launcher.
    descriptors: [usize; 2],
    /// Of both, in KiB.
    memory: [u64; 2],
    threads: u64,
    cgroups: usize,
    loops: usize,
    directories: usize,
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read a status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number")
}

fn directories_below(path: &str) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.map(|entry| 1 + directories_below(&entry.path().to_string_lossy())).sum()
}

fn held(home: &TestHome) -> Held {
    let processes = [home.daemon().expect("a daemon"), home.processes("ebb-launcher")[0]];
    let id = home.id().expect("an id");
    let mounts = fs::read_to_string("/proc/mounts").expect("read the mounts");
    let cgroups =
        mounts.lines().filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let loops = fs::read_dir("/sys/block").expect("list the disks").flatten().filter(|disk| {
        let file = fs::read_to_string(disk.path().join("loop/backing_file")).unwrap_or_default();
        file.contains(&*home.directory().to_string_lossy())
    });
    Held {
        descriptors: processes
            .map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).expect("list descriptors").count()),
        memory: processes.map(|pid| status(pid, "VmRSS")),
        threads: status(processes[0], "Threads"),
        cgroups: cgroups
            .filter_map(|line| line.split(' ').nth(1))
            .map(|mount| directories_below(&format!("{mount}/ebbtide/{id}")))
            .sum(),
        loops: loops.count(),
        directories: directories_below(&format!("/run/ebbtide/{id}")),
    }
}

#[test]
fn daemon_and_launcher_hold_after_many_sandboxes_what_they_held_after_a_few() {
    let machine = Machine::take();
    let home = machine.home();
    let rounds = scale("EBBTIDE_TEST_CHURN", 100);
    let round = |count: usize| {
        std::thread::scope(|scope| {
            for client in 0..2 {
                let home = &home;
                scope.spawn(move || {
                    for turn in 0..count.div_ceil(2) {
                        if turn % 4 == client {
                            assert_eq!(home.sh("echo once").run().ok(), "once");
                        } else {
                            let id = home.create(&[]);
                            let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
                        }
                    }
                });
            }
        });
    };
    // What is made ahead, kept for the next and allocated once is there after some.
    round(40);
    let before = settled(&home);
    round(rounds);
    let after = settled(&home);
    let grown = format!("from {before:?} to {after:?} in {rounds} rounds");
    for of in [0, 1] {
        assert!(after.descriptors[of] <= before.descriptors[of] + 4, "descriptors: {grown}");
        // An ended sandbox is a row of the ledger and some events of a bounded buffer: half a kilobyte is not let go of.
        let most = before.memory[of] + 8 * 1024 + rounds as u64 / 2;
        assert!(after.memory[of] <= most, "memory: {grown}");
    }
    assert!(after.threads <= before.threads + 8, "threads: {grown}");
    assert_eq!(
        (after.cgroups, after.loops, after.directories),
        (before.cgroups, before.loops, before.directories),
        "{grown}"
    );
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}

/// What is held once nothing changes any more: the slots that are made ahead are there.
fn settled(home: &TestHome) -> Held {
    let mut last = held(home);
    let mut same = 0;
    let settled = ebbtide_tests::holds_within(std::time::Duration::from_secs(30), || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = held(home);
        let alike = (now.cgroups, now.directories, now.descriptors)
            == (last.cgroups, last.directories, last.descriptors);
        same = if alike { same + 1 } else { 0 };
        last = now;
        same >= 10
    });
    assert!(settled, "it does not come to rest: {last:?}");
    last
}
