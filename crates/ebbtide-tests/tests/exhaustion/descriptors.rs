//! The daemon, or its launcher, can open nothing more.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ebbtide_tests::command::Ebb;
use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, TestHome, eventually, holds_within};

use super::{LIMIT, settled, works};

/// What a daemon has to itself otherwise.
const ENOUGH: usize = 20_000;

fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn limit(pid: u32, descriptors: usize) {
    let bound = format!("--nofile={descriptors}:{ENOUGH}");
    let _ = Ebb::new("prlimit", ["--pid", &pid.to_string(), &bound]).run().exited(0);
}

/// The processor time of a process.
fn busy(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// As many connections as it takes until the daemon can hold no more.
fn hoard(home: &TestHome, pid: u32, most: usize) -> Vec<UnixStream> {
    let socket = home.run_dir().join("ebb.sock");
    let mut held = Vec::new();
    eventually("it has no descriptors left", LIMIT, || {
        // Those beyond the daemon's bound wait with the kernel.
        if held.len() < most + 50 {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            held.push(stream);
        }
        (open_descriptors(pid) >= most).then_some(())
    });
    held
}

#[test]
fn a_daemon_without_descriptors_waits_for_some_and_loses_no_sandbox() {
    let machine = Machine::take();
    let home = machine.home();
    let owner = std::process::id().to_string();
    let idle = home.create(&[]);
    let owned = home.create(&["--owner", &owner]);
    let short = home.create(&["--lifetime", "6"]);
    let daemon = home.daemon().unwrap();
    let most = open_descriptors(daemon) + 40;
    limit(daemon, most);
    let held = hoard(&home, daemon, most);
    let (before, since) = (busy(daemon), Instant::now());
    // Nobody is answered; nothing spins.
    let waiting = home.exec(&idle, "echo alive").spawn();
    std::thread::sleep(Duration::from_secs(2));
    let share = (busy(daemon) - before).as_secs_f64() / since.elapsed().as_secs_f64();
    assert!(share < 0.5, "it takes {share} of a processor to wait");
    drop(held);
    assert_eq!(waiting.wait().ok(), "alive");
    for id in [&idle, &owned] {
        works(&home, id);
        assert_eq!(home.state(id), "running");
    }
    assert_eq!(super::ended(&home, &short)["reason"], "lifetime_expired");
    assert_eq!(home.daemon(), Some(daemon), "it did not survive that");
    settled(&home, [&idle, &owned, &short]);
}

#[test]
fn what_cannot_be_opened_for_a_call_fails_that_call_with_words() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nowner_grace_seconds = 1\n");
    let owner = std::process::id().to_string();
    let mut made = vec![home.create(&["--owner", &owner])];
    let daemon = home.daemon().unwrap();
    let mut refusals = 0;
    // From too few for anything to enough for everything.
    for spare in [0, 1, 2, 3, 4, 5, 6, 8, 10, 14] {
        for args in [vec!["create", "--json"], vec!["create", "--json", "--owner", &owner]] {
            limit(daemon, open_descriptors(daemon) + spare);
            let creating = home.ebb(args).spawn();
            // One that is not even let in waits until there are enough.
            let decided = holds_within(Duration::from_millis(500), || !is_alive(creating.pid()));
            if !decided {
                limit(daemon, ENOUGH);
            }
            let output = creating.wait();
            if output.code() == 0 {
                made.push(output.json()["id"].as_str().unwrap().to_owned());
            } else {
                let error = output.exited(125).error();
                assert!(error.contains("open files"), "with {spare} to spare: {error}");
                refusals += 1;
            }
        }
    }
    assert!(refusals > 0, "nothing was short");
    limit(daemon, ENOUGH);
    // Longer than the grace of an owner that was held for dead.
    std::thread::sleep(Duration::from_secs(2));
    made.iter().for_each(|id| works(&home, id));
    settled(&home, &made);
}
