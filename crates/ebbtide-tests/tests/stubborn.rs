//! What does not mean to go, goes: whatever runs in a sandbox, each way of ending one ends it, and its neighbours notice
//! nothing.

use std::time::Duration;

use ebbtide_tests::{Machine, Started, TestHome, eventually};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);

/// What the sandboxes run. Never more than some dozen processes and megabytes.
const PAYLOADS: [(&str, &str); 9] = [
    ("ignores signals", "trap '' TERM HUP INT; while :; do sleep 1000; done"),
    ("forks without end", "trap '' TERM; for i in 1 2 3 4 5 6 7 8; do (while :; do (sleep 0.05); done) & done; wait"),
    (
        "double-forks into sessions of their own",
        "trap '' TERM; for i in 1 2 3; do (setsid sh -c '(trap \"\" TERM; setsid sleep 1000 &) ; sleep 1000' &); done; sleep 1000",
    ),
    (
        "holds removed files, directories and mounts",
        "mkdir -p /tmp/held && cd /tmp/held && exec 7>/tmp/file && echo data >&7 && rm -rf /tmp/file /tmp/held
         unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /tmp; cd /tmp; sleep 1000' &
         mkdir -p /tmp/mount; mount -t tmpfs none /tmp/mount; cd /proc/self; trap '' TERM; while :; do sleep 1000; done",
    ),
    ("fills its disk", "trap '' TERM; while :; do head -c 1G /dev/zero >/var/tmp/full; sleep 1; done"),
    ("floods its log", "trap '' TERM; yes 'a line of a log that is written without end' | head -c 64M; while :; do sleep 1000; done"),
    ("stops itself", "sh -c 'kill -STOP $$' & sleep 0.1; kill -STOP $$; sleep 1000"),
    ("stops everybody", "trap '' TERM; (sleep 1000 &); kill -STOP 1; kill -STOP -1; kill -STOP $$; sleep 1000"),
    (
        "looks for a freezer",
        "for file in $(find / -xdev -name 'cgroup.freeze' -o -name 'freezer.state' 2>/dev/null); do echo 1 >$file; done
         mkdir /tmp/cg; mount -t cgroup2 none /tmp/cg && mkdir /tmp/cg/nested && echo 1 >/tmp/cg/nested/cgroup.freeze
         trap '' TERM; while :; do sleep 1000; done",
    ),
];

/// A way to end a sandbox: what it is made with, what is done then, and the reason that it ends for.
type End = (&'static str, &'static [&'static str], fn(&TestHome, &str), &'static str);

const ENDS: [End; 6] = [
    (
        "a stop",
        &[],
        |home, id| drop(home.ebb(["stop", "--grace", "1", id]).limit(LIMIT).run().exited(0)),
        "stopped",
    ),
    ("its lifetime", &["--lifetime", "8"], |_, _| {}, "lifetime_expired"),
    (
        "the end of its lifetime in a pause",
        &["--lifetime", "9"],
        // On a busy machine it may have ended before that.
        |home, id| drop(home.ebb(["pause", id]).run()),
        "lifetime_expired",
    ),
    (
        "a stop in a pause",
        &[],
        |home, id| {
            pause(home, id);
            let _ = home.ebb(["stop", "--grace", "1", id]).limit(LIMIT).run().exited(0);
        },
        "stopped",
    ),
    ("the end of its owner", &["--orphan-grace", "1"], |_, _| {}, "owner_gone"),
    ("the end of its owner in a pause", &["--orphan-grace", "1"], pause, "owner_gone"),
];

fn pause(home: &TestHome, id: &str) {
    let _ = home.ebb(["pause", id]).run().exited(0);
}

fn ended(home: &TestHome, id: &str, what: &str) -> Value {
    eventually(what, LIMIT, || {
        let sandbox = home.get(id);
        sandbox["ended_at"].is_string().then_some(sandbox)
    })
}

#[test]
fn whatever_a_sandbox_does_each_way_of_ending_it_ends_it_and_its_neighbours_notice_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[defaults]\ndisk = \"64Mi\"\n");
    let neighbour = home.create(&[]);
    for end in ENDS.chunks(2) {
        std::thread::scope(|scope| {
            for (way, options, act, reason) in end {
                let home = &home;
                scope.spawn(move || end_all(home, way, options, *act, reason));
            }
        });
        assert_eq!(home.exec(&neighbour, "echo alive").run().ok(), "alive");
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
    let _ = home.ebb(["stop", "--grace", "0", &neighbour]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}

/// One sandbox of each payload, all of which end in the same way.
fn end_all(home: &TestHome, way: &str, options: &[&str], act: fn(&TestHome, &str), reason: &str) {
    let mut owner = Started::idle();
    let pid = owner.pid().to_string();
    let ids: Vec<_> = PAYLOADS
        .iter()
        .map(|(payload, script)| {
            let create = [&["--owner", pid.as_str()], options, &["--", "sh", "-c", script]].concat();
            (home.create(&create), format!("{way} ends what {payload}"))
        })
        .collect();
    // So that they are in the middle of what they do.
    std::thread::sleep(Duration::from_millis(500));
    for (id, _) in &ids {
        act(home, id);
    }
    if reason == "owner_gone" {
        owner.kill();
    }
    for (id, what) in &ids {
        let sandbox = ended(home, id, what);
        assert_eq!(sandbox["end"]["reason"], reason, "{what}: {sandbox}");
        let receipt = home.ebb(["receipt", id, "--json"]).run().json();
        assert_eq!(receipt["left"].as_array().map(Vec::len), Some(0), "{what}: {receipt}");
    }
}

#[test]
fn what_is_left_running_in_an_idle_sandbox_does_not_keep_it() {
    let machine = Machine::take();
    let home = machine.home();
    std::thread::scope(|scope| {
        for (payload, script) in PAYLOADS {
            let home = &home;
            scope.spawn(move || {
                let id = home.create(&["--idle-timeout", "1"]);
                let script = script.replace('\'', "'\\''");
                let _ = home
                    .exec(&id, &format!("setsid sh -c '{script}' >/dev/null 2>&1 </dev/null &"))
                    .run()
                    .exited(0);
                let what = format!("what {payload} is idle");
                let sandbox = ended(home, &id, &what);
                assert_eq!(sandbox["end"]["reason"], "idle", "{what}: {sandbox}");
            });
        }
    });
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}
