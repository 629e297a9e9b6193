//! The disk of the home is full.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use ebbtide_tests::{Machine, eventually};
use rustix::fs::{FallocateFlags, fallocate};

use super::{LIMIT, ended, home_on_disk, says, settled, works};

#[test]
fn on_a_full_disk_nothing_begins_and_everything_else_goes_on_and_ends() {
    let machine = Machine::take();
    let home = home_on_disk(&machine);
    let [stays, stopped, killed] = [(); 3].map(|()| home.create(&[]));
    let short = home.create(&["--lifetime", "4"]);
    let exits = home.create(&["--", "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 9"]);
    let full = home.disk().unwrap().fill();
    let before = home.live();
    for _ in 0..3 {
        says(home.ebb(["create"]).run(), &["ledger.db", "no space left", "ebb stop"]);
        says(home.sh("true").run(), &["no space left"]);
    }
    assert_eq!(home.live(), before, "something is half made");
    let write = "echo data >/tmp/file && cat /tmp/file";
    assert_eq!(home.exec(&stays, write).run().ok(), "data");
    let _ = home.ebb(["stop", "--grace", "1", &stopped]).run().exited(0);
    let _ = home.exec(&exits, "touch /tmp/go").run();
    assert_eq!(ended(&home, &exits)["exit_code"], 9);
    assert_eq!(ended(&home, &short)["reason"], "lifetime_expired");

    // So does the next daemon.
    home.kill_daemon();
    works(&home, &stays);
    says(home.ebb(["create"]).run(), &["no space left"]);
    let _ = home.ebb(["stop", "--grace", "0", &killed]).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
    drop(full);

    let fresh = home.create(&[]);
    assert_eq!(home.get(&stopped)["reason"], "stopped");
    assert_eq!(
        home.exec(&stays, "cat /tmp/file; echo more >>/tmp/file; cat /tmp/file").run().ok(),
        "data\ndata\nmore"
    );
    settled(&home, [&stays, &stopped, &killed, &short, &exits, &fresh]);
}

#[test]
fn a_disk_that_fills_in_the_middle_of_creates_and_stops_leaves_nothing_half_made() {
    let machine = Machine::take();
    let home = home_on_disk(&machine);
    let old: Vec<String> = (0..6).map(|_| home.create(&[])).collect();
    let answered = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let outputs = (0..12).map(|_| home.ebb(["create", "--json"]).run());
                    outputs.map(|output| (output.code(), output)).collect::<Vec<_>>()
                })
            })
            .collect();
        let stopper = scope.spawn(|| {
            for id in &old {
                let _ = home.ebb(["stop", "--grace", "0", id]).run().exited(0);
            }
        });
        for _ in 0..3 {
            let full = home.disk().unwrap().fill();
            std::thread::sleep(Duration::from_millis(200));
            drop(full);
            std::thread::sleep(Duration::from_millis(100));
        }
        stopper.join().unwrap();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
    });
    let mut made = Vec::new();
    for (code, output) in answered {
        match code {
            0 => made.push(output.json()["id"].as_str().unwrap().to_owned()),
            _ => {
                let error = output.exited(125).error();
                assert!(error.contains("space") || error.contains("room"), "{error}");
            }
        }
    }
    for id in &old {
        assert_eq!(ended(&home, id)["reason"], "stopped");
    }
    eventually("what was refused is gone", LIMIT, || (home.live() == made.len()).then_some(()));
    made.iter().for_each(|id| works(&home, id));
    settled(&home, made.iter().chain(&old));
}

#[test]
fn a_disk_pool_that_the_full_disk_has_broken_gives_way_to_another() {
    let machine = Machine::take();
    let home = home_on_disk(&machine);
    let old = home.create(&[]);
    // The place that is taken ahead, so that this does not happen, is given back.
    let full = home.disk().unwrap().fill();
    let pool = File::options().write(true).open(home.state_dir().join("pool.btrfs")).unwrap();
    fallocate(&pool, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 13 << 20).unwrap();
    drop(full);
    let full = home.disk().unwrap().fill();
    let _ = home.exec(&old, "echo data >/tmp/file").run();
    let launcher = home.processes("ebb-launcher")[0].to_string();
    let disk = home.run_dir().join("disk");
    let sync = ["--mount", "--target", &launcher, "sync", "--file-system", disk.to_str().unwrap()];
    assert!(!Command::new("nsenter").args(sync).output().unwrap().status.success(), "it is not broken");
    drop(full);

    let new = home.create(&[]);
    assert_eq!(home.exec(&new, "echo data >/tmp/file && cat /tmp/file").run().ok(), "data");
    let refused = home.exec(&old, "echo data >/tmp/other").run();
    assert!(refused.code() != 0 && refused.error().contains("/tmp/other"), "{}", refused.error());
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.kill_daemon();
    home.kill_launcher();
    for id in [&old, &new] {
        works(&home, id);
        let _ = home.ebb(["stop", "--grace", "0", id]).run().exited(0);
    }
    assert!(fs::exists(home.state_dir().join("pool.btrfs")).unwrap());
    settled(&home, [&old, &new]);
}
