//! Memory is used up, in a sandbox and under the daemon.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, TestHome, holds_within};

use super::bound::Bound;
use super::{LIMIT, ended, settled, works};

/// Takes more than it may.
const HUNGRY: &str = "x = bytearray(300 << 20); print(len(x))";

#[test]
fn a_main_command_killed_for_want_of_memory_says_so_and_harms_nobody() {
    let machine = Machine::take();
    let home = machine.home();
    let other = home.create(&[]);
    let hungry = home.create(&["--memory", "64Mi", "--", "python3", "-c", HUNGRY]);
    let sandbox = ended(&home, &hungry);
    assert_eq!(
        (&sandbox["state"], &sandbox["reason"]),
        (&"completed".into(), &"out_of_memory".into()),
        "{sandbox}"
    );
    assert_eq!(sandbox["exit_code"], 137);
    let receipt = home.ebb(["receipt", &hungry, "--json"]).run().json();
    assert!(receipt["left"].as_array().is_none_or(Vec::is_empty), "{receipt}");
    works(&home, &other);
    // A child of the main command that is killed so is the main command's to deal with.
    let script = "python3 -c 'x = bytearray(300 << 20)'; echo $?; sleep 600";
    let lives = home.create(&["--memory", "64Mi", "--", "sh", "-c", script]);
    let output = home.ebb(["exec", &lives, "--", "python3", "-c", HUNGRY]).run();
    assert_eq!(output.code(), 137, "{}", output.error());
    works(&home, &lives);
    assert_eq!(home.state(&lives), "running");
    settled(&home, [&other, &hungry, &lives]);
}

/// What the daemon and the launcher may have, and what a sandbox takes then: more than that.
const BOUND: u64 = 96 << 20;
const PAYLOAD: &str = "x = bytearray(150 << 20); print(len(x))";

/// Uses up the memory of a cgroup, until the kernel has killed these in it, and then who uses it up.
fn use_up(bound: &Bound, victims: &[u32]) {
    for victim in victims {
        std::fs::write(format!("/proc/{victim}/oom_score_adj"), "1000").unwrap();
    }
    let script = "echo $$ > \"$0\" && exec python3 -c 'x = bytearray(200 << 20)'";
    let output = Command::new("sh").args(["-c", script]).arg(bound.list()).output().unwrap();
    assert!(!output.status.success(), "there was enough");
    let gone = holds_within(LIMIT, || !victims.iter().any(|victim| is_alive(*victim)));
    assert!(gone, "{victims:?} are not killed");
}

/// Makes sandboxes until it is told to stop, and as long as it may; their ids.
fn creates(home: &TestHome, enough: &AtomicBool) -> Vec<String> {
    let mut made = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let output = home.ebb(["create", "--json"]).run();
        match output.code() {
            0 => made.push(output.json()["id"].as_str().unwrap().to_owned()),
            _ => assert!(!output.exited(125).error().is_empty(), "a failure that says nothing"),
        }
    }
    made
}

#[test]
fn a_daemon_and_a_launcher_that_are_killed_for_want_of_memory_come_back_and_harm_nobody() {
    let machine = Machine::take();
    let home = machine.home();
    let bound = Bound::new("memory");
    bound.allow_memory(BOUND);
    let owner = std::process::id().to_string();
    let create = || home.create(&["--owner", &owner, "--memory", "256Mi"]);
    let mut ids = vec![create()];
    for with_launcher in [false, true] {
        let (daemon, launcher) = (home.daemon().unwrap(), home.processes("ebb-launcher")[0]);
        bound.take(daemon);
        bound.take(launcher);
        // What sandboxes take is their own, whoever makes them.
        ids.push(create());
        for id in &ids {
            assert_eq!(home.ebb(["exec", id, "--", "python3", "-c", PAYLOAD]).run().ok(), "157286400");
        }
        let inits: Vec<u32> = ids.iter().map(|id| home.init_of(id)).collect();
        let victims = if with_launcher { &[daemon, launcher][..] } else { &[daemon] };
        let enough = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            let maker = scope.spawn(|| creates(&home, &enough));
            use_up(&bound, victims);
            enough.store(true, Ordering::Relaxed);
            maker.join().unwrap()
        });
        ids.iter().for_each(|id| works(&home, id));
        for (id, init) in ids.iter().zip(inits) {
            assert_eq!((home.init_of(id), is_alive(init)), (init, true), "{id} was harmed");
        }
        // One that was being made may have failed, and says so.
        settled(&home, &made);
        for id in &made {
            let _ = home.ebb(["stop", "--grace", "0", id]).run().exited(0);
        }
    }
    settled(&home, &ids);
    home.shutdown();
}
