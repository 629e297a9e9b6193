//! The ledger cannot be written, cannot be read, or is not there.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ebbtide_tests::command::Ebb;
use ebbtide_tests::home::is_alive;
use ebbtide_tests::{Machine, Started, TestHome, eventually};

use super::{LIMIT, ended, ledger, says, settled, works};

/// Another program that holds the ledger's lock for writing, as a backup or a curious person may.
struct Locked {
    _holder: Started,
}

impl Locked {
    fn new(home: &TestHome) -> Self {
        let hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); \
                    c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", hold, ledger(home).to_str().unwrap()]);
        let mut holder = Started::new(python.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(holder.stdout()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self { _holder: holder }
    }
}

#[test]
fn a_ledger_that_another_program_holds_locked_is_waited_for_with_a_bound() {
    let machine = Machine::take();
    let home = machine.home();
    let [stays, stopped] = [(); 2].map(|()| home.create(&[]));
    let held = Locked::new(&home);
    let waiting = home.ebb(["create", "--json"]).spawn();
    std::thread::sleep(Duration::from_secs(1));
    drop(held);
    let patient = waiting.wait().json()["id"].as_str().unwrap().to_owned();

    let held = Locked::new(&home);
    let since = Instant::now();
    for _ in 0..10 {
        says(home.ebb(["create"]).run(), &["ledger.db", "locked by another process"]);
    }
    // Each for itself would be twenty seconds and more.
    assert!(since.elapsed() < Duration::from_secs(15), "ten refusals took {:?}", since.elapsed());
    works(&home, &stays);
    assert_eq!(home.live(), 3);
    let init = home.init_of(&stopped);
    let stop = home.ebb(["stop", "--grace", "0", &stopped]).spawn();
    eventually("it ends although that cannot be recorded", LIMIT, || (!is_alive(init)).then_some(()));
    assert_eq!(home.live(), 3, "an end is shown that no ledger knows");
    drop(held);
    let _ = stop.wait().exited(0);
    assert_eq!(ended(&home, &stopped)["reason"], "stopped");
    settled(&home, [&stays, &stopped, &patient]);
}

/// A file that nobody can write, whoever has it open.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Self {
        assert!(Command::new("chattr").arg("+i").arg(&path).status().unwrap().success());
        Self(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).status();
    }
}

#[test]
fn while_the_ledger_cannot_be_written_sandboxes_go_on_and_end() {
    let machine = Machine::take();
    let home = machine.home();
    let [stays, stopped] = [(); 2].map(|()| home.create(&[]));
    let owned = home.create(&["--lifetime", "3"]);
    let inits = [home.init_of(&stopped), home.init_of(&owned)];
    let held = ["ledger.db", "ledger.db-wal"].map(|name| Immutable::new(home.state_dir().join(name)));
    says(home.ebb(["create"]).run(), &["ledger.db"]);
    let stop = home.ebb(["stop", "--grace", "1", &stopped]).spawn();
    eventually("both end although that cannot be recorded", LIMIT, || {
        inits.iter().all(|init| !is_alive(*init)).then_some(())
    });
    works(&home, &stays);
    // A daemon that cannot write says so, and who lives goes on.
    home.kill_daemon();
    let _ = stop.wait();
    says(home.ebb(["list"]).run(), &["ledger.db", "cannot be written"]);
    assert!(is_alive(home.init_of(&stays)));
    drop(held);
    works(&home, &stays);
    assert_eq!(ended(&home, &stopped)["reason"], "stopped");
    assert_eq!(ended(&home, &owned)["reason"], "lifetime_expired");
    settled(&home, [&stays, &stopped, &owned]);
}

#[test]
fn a_damaged_ledger_is_mended_with_all_that_can_be_read_and_the_rest_ends() {
    let machine = Machine::take();
    let home = machine.home();
    let tags: Vec<String> = (0..8).map(|number| number.to_string().repeat(250)).collect();
    let args: Vec<&str> = tags.iter().flat_map(|tag| ["--tag", tag]).collect();
    let ids: Vec<String> = (0..8).map(|_| home.create(&args)).collect();
    std::thread::sleep(Duration::from_millis(300));
    home.kill_daemon();
    let checkpoint = "import sqlite3, sys; \
                      sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()";
    let _ = Ebb::new("python3", ["-c", checkpoint, ledger(&home).to_str().unwrap()]).run().exited(0);
    // A page of the table, as its first byte says, with one of the records.
    let id = ids[3].as_bytes();
    let holds = |page: &[u8]| page[0] == 13 && page.windows(id.len()).any(|part| part == id);
    let page = fs::read(ledger(&home)).unwrap().chunks(4096).position(holds).unwrap() as u64;
    let file = File::options().write(true).open(ledger(&home)).unwrap();
    file.write_all_at(&[0xA5; 4096], page * 4096).unwrap();
    for args in [vec!["list"], vec!["doctor"]] {
        says(home.ebb(args).run(), &["ledger.db", "damaged", "ebb doctor --fix"]);
    }
    assert!(ids.iter().all(|id| is_alive(home.init_of(id))), "somebody was harmed");
    let fixed = home.ebb(["doctor", "--fix", "--json"]).run().json();
    let aside = fixed["ledger"]["set_aside"].as_str().unwrap();
    assert!(fs::exists(aside).unwrap());
    let lives = |id: &&String| home.ebb(["get", id]).run().code() == 0;
    let (kept, lost): (Vec<_>, Vec<_>) = ids.iter().partition(lives);
    assert_eq!(fixed["ledger"]["records"], kept.len());
    assert!(!kept.is_empty() && !lost.is_empty(), "{kept:?} {lost:?}");
    kept.iter().for_each(|id| works(&home, id));
    lost.iter().for_each(|id| assert_eq!(home.init_of_if_any(id), None));
    settled(&home, kept);
}

#[test]
fn a_ledger_that_is_deleted_under_the_daemon_loses_no_sandbox() {
    let machine = Machine::take();
    let home = machine.home();
    let [id, over] = [(); 2].map(|()| home.create(&[]));
    let _ = home.ebb(["stop", "--grace", "0", &over]).run().exited(0);
    let log = home.state_dir().join("ledger.db-wal");
    for file in [ledger(&home), log] {
        fs::remove_file(file).unwrap();
    }
    eventually("it is there again", LIMIT, || fs::exists(ledger(&home)).unwrap().then_some(()));
    let next = home.create(&[]);
    home.kill_daemon();
    for id in [&id, &next] {
        works(&home, id);
    }
    settled(&home, [&id, &over, &next]);
}
