//! What is wrong is refused with words that say what to do; nothing is half made and nothing lost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use ebbtide::proto::coreweave::sandbox::v1 as wire;
use ebbtide::{ConnectOptions, ExecCommand, HomeLocation};
use ebbtide_tests::{Ebb, Machine, Output, TestHome, eventually};

const UNKNOWN: &str = "01jd0000000000000000000000";

/// Refused by Ebbtide itself, with words about `what`, and with nothing made.
#[track_caller]
fn refused(home: &TestHome, args: &[&str], what: &str) -> Output {
    let output = home.ebb(args.iter().copied()).run();
    assert!(matches!(output.code(), 125 | 2), "{args:?} exited {}: {}", output.code(), output.error());
    assert!(output.error().contains(what), "{args:?} says nothing of {what:?}: {}", output.error());
    output
}

#[test]
fn a_create_that_asks_for_nonsense_makes_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    for (args, what) in [
        (&["create", "--image", "no-such-image"][..], "no-such-image"),
        (&["create", "--memory", "lots"], "memory"),
        (&["create", "--memory=-1"], "memory"),
        (&["create", "--memory", "1"], "memory"),
        (&["create", "--cpu", "2 apples"], "cpu"),
        (&["create", "--cpu", "100000000"], "cpu"),
        (&["create", "--lifetime", "0"], "lifetime"),
        (&["create", "--lifetime", "-5"], "-5"),
        (&["create", "--lifetime", "2000000000"], "lifetime"),
        (&["create", "--workdir", "relative"], "working_dir"),
        (&["create", "--env", "NOVALUE", "--", "true"], "NAME=VALUE"),
        (&["create", "--owner", "2147483646"], "2147483646"),
        (&["create", "--", ""], "command"),
        (&["run"], "COMMAND"),
        (&["run", "--", ""], "command"),
    ] {
        refused(&home, args, what);
    }
    let list = home.ebb(["list", "--json"]).run().json();
    assert_eq!(list["sandboxes"], serde_json::json!([]));
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn any_malformed_or_unknown_id_is_not_found() {
    let machine = Machine::take();
    let home = machine.home();
    for id in [UNKNOWN, "x", "../../etc", "", " ", "01JD0000000000000000000000", "é", &"9".repeat(4096)] {
        for verb in [&["get"][..], &["stop"], &["exec"]] {
            let mut args = vec![verb[0], "--", id];
            if verb[0] == "exec" {
                args.push("true");
            }
            let _ = home.ebb(args.iter().copied()).run().exited(125);
        }
    }
    let _ = home.ebb(["stop", "--missing-ok", UNKNOWN]).run().exited(0);
}

type Change = fn(&mut wire::SandboxSpec);

#[test]
fn what_the_wire_allows_and_the_model_does_not_is_refused_with_a_reason() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
        let options = ConnectOptions { autostart: false, ..ConnectOptions::default() };
        let client = ebbtide::connect(&location.open().unwrap(), &options).await.unwrap();
        let spec = |change: Change| {
            let container =
                wire::Container { name: "main".into(), image: "host".into(), ..Default::default() };
            let mut spec = wire::SandboxSpec { containers: vec![container], ..Default::default() };
            change(&mut spec);
            spec
        };
        let cases: [(&str, Change); 7] = [
            ("command with NUL", |spec| spec.containers[0].command = "a\0b".into()),
            ("lifetime below zero", |spec| spec.max_lifetime_seconds = -1),
            ("two containers", |spec| spec.containers.push(Default::default())),
            ("no container", |spec| spec.containers.clear()),
            ("too many tags", |spec| spec.tags = vec!["x".into(); 1000]),
            ("huge argument", |spec| {
                spec.containers[0].command = "true".into();
                spec.containers[0].args = vec!["x".repeat(8 << 20)];
            }),
            ("half an owner", |spec| {
                drop(spec.annotations.insert("ebbtide.dev/owner-pid".into(), "1".into()))
            }),
        ];
        for (name, change) in cases {
            let error = client.create(spec(change), "").await.expect_err(name);
            let rejection = error.rejection().unwrap_or_else(|| panic!("{name}: {error}"));
            let reason = rejection.reason.as_deref().unwrap_or_default();
            assert!(reason.starts_with("CWSANDBOX_"), "{name}: {error}");
        }
        let oversized = spec(|spec| drop(spec.annotations.insert("big".into(), "x".repeat(101 << 20))));
        assert!(client.create(oversized, "").await.is_err());
        for argv in [vec![], vec![String::new()], vec!["a\0b".to_owned()]] {
            let command = ExecCommand { sandbox_id: id.clone(), argv, ..Default::default() };
            let failed = match client.exec(command).await {
                Err(_) => true,
                Ok(mut exec) => exec.events.next().await.is_err(),
            };
            assert!(failed);
        }
        // The same request twice is one sandbox; with another body it is refused.
        let first = client.create(spec(|_| ()), "same").await.unwrap();
        assert_eq!(client.create(spec(|_| ()), "same").await.unwrap().sandbox_id, first.sandbox_id);
        let error = client.create(spec(|spec| spec.tags = vec!["other".into()]), "same").await.unwrap_err();
        let reason = error.rejection().and_then(|rejection| rejection.reason.clone());
        assert_eq!(reason.as_deref(), Some("CWSANDBOX_REQUEST_ID_CONFLICT"));
    });
    assert_eq!(home.live(), 2);
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
}

#[test]
fn an_exec_in_a_sandbox_that_has_ended_is_refused() {
    let machine = Machine::take();
    let home = machine.home();
    let stopped = home.create(&[]);
    let _ = home.ebb(["stop", "--grace", "0", &stopped]).run().exited(0);
    let ended = home.create(&["--", "true"]);
    eventually("the main command ends", Duration::from_secs(20), || {
        home.get(&ended)["ended_at"].is_string().then_some(())
    });
    for id in [&stopped, &ended] {
        let output = home.exec(id, "true").run().exited(125);
        assert!(
            output.error().contains("not running") || output.error().contains("ended"),
            "{}",
            output.error()
        );
    }
    // Stopping again is no error: it is gone, as asked.
    let _ = home.ebb(["stop", &stopped]).run().exited(0);
}

#[test]
fn a_main_command_that_cannot_run_fails_the_sandbox_with_its_cause() {
    let machine = Machine::take();
    let home = machine.home();
    let output = home.ebb(["create", "--", "no-such-program"]).run();
    assert!(matches!(output.code(), 125 | 127), "{}", output.code());
    assert!(output.error().contains("no-such-program"), "{}", output.error());
    assert_eq!(home.live(), 0);
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn another_user_than_root_learns_that_root_is_needed() {
    let machine = Machine::take();
    let home = machine.home();
    let ebb = home.copy_for_everybody();
    let args = ["--reuid=65534", "--regid=65534", "--clear-groups", ebb.path(), "run", "--", "true"];
    let refused = Ebb::new("setpriv", args).env("EBBTIDE_HOME", home.state_dir()).run().exited(125);
    assert!(refused.error().contains("root"), "{}", refused.error());
    assert!(!home.state_dir().exists());
}

#[test]
fn a_root_that_may_not_make_namespaces_learns_why_and_nothing_is_left() {
    let machine = Machine::take();
    let home = machine.home();
    let ebb = home.binary().to_str().unwrap().to_owned();
    let args = ["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", &ebb, "create"];
    let output = Ebb::new("setpriv", args).env("EBBTIDE_HOME", home.state_dir()).run().exited(125);
    assert!(output.error().contains("ermitted"), "{}", output.error());
    assert!(home.id().is_some());
    let kept = machine.left().into_iter().find(|left| left.starts_with("cgroup"));
    assert_eq!(kept, None, "a daemon that did not start keeps something running");
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn a_socket_of_another_user_is_refused() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let socket = home.run_dir().join("ebb.sock");
    chown(&socket, Some(12345), None).unwrap();
    let output = home.ebb(["list"]).run().exited(125);
    assert!(output.error().contains("ebb.sock"), "{}", output.error());
    chown(&socket, Some(0), None).unwrap();
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
}

#[test]
fn a_second_daemon_on_one_home_is_refused_and_the_first_stays() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let daemon = home.daemon();
    let output = home.ebb(["serve"]).run().exited(125);
    assert!(output.error().contains(&daemon.unwrap().to_string()), "{}", output.error());
    assert_eq!(home.daemon(), daemon);
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
}

#[test]
fn a_configuration_with_a_mistake_is_refused_by_name() {
    let machine = Machine::take();
    let home = machine.home();
    for (text, what) in [
        ("[limits]\nowner_grace = 2\n", "owner_grace"),
        ("[defaults]\nmemory = \"lots\"\n", "memory"),
        ("not toml", "ebbtide.toml"),
    ] {
        home.configure(text);
        let output = home.ebb(["list"]).run().exited(125);
        assert!(output.error().contains(what), "{}", output.error());
    }
    home.configure("");
    let _ = home.ebb(["list"]).run().exited(0);
}

/// Makes a ledger with one stopped sandbox, damages it, and looks at what Ebbtide says. It must not be replaced.
fn damaged_ledger(damage: impl FnOnce(&std::path::Path), words: &[&str]) {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    home.shutdown();
    let ledger = home.state_dir().join("ledger.db");
    let good = fs::read(&ledger).unwrap();
    damage(&ledger);
    let bad = fs::read(&ledger).unwrap();
    let output = home.ebb(["list"]).run().exited(125);
    assert!(words.iter().any(|word| output.error().contains(word)), "{}", output.error());
    assert!(output.error().contains("ledger.db"), "{}", output.error());
    assert_eq!(fs::read(&ledger).unwrap(), bad, "the ledger was touched");
    fs::write(&ledger, good).unwrap();
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(home.state_dir().join(name));
    }
    assert_eq!(home.get(&id)["state"], "completed", "the record is lost");
}

#[test]
fn a_ledger_of_a_newer_version_is_left_alone() {
    damaged_ledger(
        |ledger| {
            // `user_version`, big-endian at offset 60 of the file's header.
            let mut bytes = fs::read(ledger).unwrap();
            bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
            fs::write(ledger, bytes).unwrap();
        },
        &["newer"],
    );
}

#[test]
fn a_ledger_with_a_corrupt_page_is_left_alone() {
    damaged_ledger(
        |ledger| {
            let mut bytes = fs::read(ledger).unwrap();
            let length = bytes.len();
            bytes[4096.min(length - 1)..].fill(0xa5);
            fs::write(ledger, bytes).unwrap();
        },
        &["damaged", "corrupt", "malformed"],
    );
}

#[test]
fn a_home_that_vanishes_takes_its_sandboxes_along() {
    let machine = Machine::take();
    let home = machine.home();
    let ids = [home.create(&[]), home.create(&[])];
    let inits: Vec<u32> = ids.iter().map(|id| home.init_of(id)).collect();
    let daemon = home.daemon().expect("a daemon");
    fs::remove_dir_all(home.state_dir()).unwrap();
    eventually("daemon and sandboxes end", Duration::from_secs(120), || {
        let alive = inits.iter().chain([&daemon]).any(|pid| ebbtide_tests::home::is_alive(*pid));
        (!alive).then_some(())
    });
    machine.assert_nothing_left();
}

#[test]
fn a_home_below_a_deep_path_works() {
    let machine = Machine::take();
    let home = machine.home().below(&"deep/".repeat(60));
    assert_eq!(home.sh("echo hi").run().ok(), "hi");
}

#[test]
fn a_full_disk_is_said_and_ends_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let disk = FullDisk::mount(home.directory(), 1 << 30);
    let home = home.below("disk/home");
    home.configure("[defaults]\ndisk = \"64Mi\"\n");
    let id = home.create(&[]);
    disk.fill();
    let output = home.ebb(["create"]).run();
    // There may be room enough for the record of one more; if not, the words say why.
    if output.code() != 0 {
        assert_eq!(output.code(), 125);
        let said = output.error().to_lowercase();
        assert!(said.contains("space") || said.contains("full") || said.contains("room"), "{said}");
    }
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
    disk.make_room();
    let _ = home.ebb(["create"]).run().exited(0);
    home.shutdown();
    drop(disk);
}

#[test]
fn a_disk_too_small_for_any_sandbox_is_said_and_nothing_is_left() {
    let machine = Machine::take();
    let home = machine.home();
    let disk = FullDisk::mount(home.directory(), 128 << 20);
    let home = home.below("disk/home");
    let output = home.ebb(["create"]).run().exited(125);
    let said = output.error().to_lowercase();
    assert!(said.contains("disk") && said.contains("free"), "{said}");
    let _ = home.ebb(["doctor"]).run();
    home.shutdown();
    drop(disk);
    machine.assert_nothing_left();
}

/// A small file system in a file, mounted for a test.
struct FullDisk(std::path::PathBuf);

impl FullDisk {
    fn mount(directory: &std::path::Path, bytes: u64) -> Self {
        let (image, point) = (directory.join("disk.img"), directory.join("disk"));
        fs::create_dir(&point).unwrap();
        let file = fs::File::create(&image).unwrap();
        file.set_len(bytes).unwrap();
        Self::tool("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        Self::tool("mount", &["-o", "loop", image.to_str().unwrap(), point.to_str().unwrap()]);
        Self(point)
    }

    fn tool(program: &str, args: &[&str]) {
        let status = std::process::Command::new(program).args(args).status().unwrap();
        assert!(status.success(), "{program} {args:?}");
    }

    fn fill(&self) {
        let chunk = vec![0xa5_u8; 1 << 20];
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        let _ = file.sync_all();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ =
            std::process::Command::new("umount").args(["-l", self.0.to_str().unwrap_or_default()]).status();
    }
}
