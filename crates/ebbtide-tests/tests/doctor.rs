//! `ebb doctor` finds each kind of leak that it lists, by a planted one, and nothing where nothing is wrong.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use ebbtide_tests::{Ebb, Machine, Started, TestHome};
use serde_json::Value;

const SLOT: &str = "slot-leakleak";
const UNKNOWN: &str = "01jd0000000000000000000000";

/// A leak that is taken back when it is dropped.
struct Leak(Option<Box<dyn FnOnce()>>);

impl Leak {
    fn new(undo: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(undo)))
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn doctor(home: &TestHome, code: i32) -> Value {
    home.ebb(["doctor", "--json"]).run().exited_with_json(code)
}

/// Doctor is content, then not because of this leak, then content again.
#[track_caller]
fn finds(home: &TestHome, kind: &str, name: &str, plant: impl FnOnce() -> Leak) {
    doctor(home, 0);
    let leak = plant();
    let report = doctor(home, 1);
    let leaks = report["leaks"].as_array().unwrap();
    let found =
        leaks.iter().find(|leak| leak["kind"] == kind && leak["name"].as_str().unwrap().contains(name));
    let found = found.unwrap_or_else(|| panic!("no {kind} {name} in {leaks:#?}"));
    assert!(!found["remedy"].as_str().unwrap().is_empty());
    let text = home.ebb(["doctor"]).run().exited(1).text();
    assert!(text.contains(name), "{text}");
    drop(leak);
    doctor(home, 0);
}

/// As [`finds`]; and `doctor --fix` takes it away.
#[track_caller]
fn finds_and_fixes(home: &TestHome, kind: &str, name: &str, plant: impl Fn() -> Leak) {
    finds(home, kind, name, &plant);
    plant().0.take();
    let report = home.ebb(["doctor", "--fix", "--json"]).run().exited_with_json(0);
    let fixed = report["fixed"].as_array().unwrap();
    assert!(
        fixed.iter().any(|done| done["kind"] == kind && done["outcome"] == "removed"),
        "no {kind} {name} in {fixed:#?}"
    );
    doctor(home, 0);
}

fn cgroup_mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines = table.lines().filter(|line| line.contains(" - cgroup"));
    lines.filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?))).collect()
}

/// The directories of the home in every hierarchy that has one.
fn home_cgroups(home: &TestHome) -> Vec<PathBuf> {
    let id = home.id().unwrap();
    cgroup_mounts().iter().map(|mount| mount.join("ebbtide").join(&id)).filter(|path| path.is_dir()).collect()
}

#[test]
fn a_home_that_does_not_exist_is_clean_and_is_not_made() {
    let machine = Machine::take();
    let home = machine.home();
    let report = doctor(&home, 0);
    assert_eq!(report["leaks"], serde_json::json!([]));
    assert_eq!(report["lacks"], serde_json::json!([]), "this host cannot run sandboxes");
    assert!(!home.state_dir().exists());
    assert!(home.daemon().is_none());
}

#[test]
fn doctor_needs_no_daemon_and_starts_none() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let report = doctor(&home, 0);
    assert_eq!(report["live"]["daemon"], home.daemon().unwrap());
    for kind in
        ["process", "cgroup", "directory", "network_namespace", "socket", "id_claim", "loop_device", "quota"]
    {
        let expected = report["expected"].as_array().unwrap();
        assert!(
            expected.iter().any(|found| found["kind"] == kind),
            "no {kind} of a live sandbox in {expected:#?}"
        );
    }
    assert!(serde_json::to_string(&report["expected"]).unwrap().contains(&id));
    home.kill_daemon();
    doctor(&home, 0);
    assert!(home.daemon().is_none(), "doctor started a daemon");
    let _ = home.ebb(["list"]).run().exited(0);
    home.shutdown();
    let report = doctor(&home, 0);
    assert_eq!(
        report["expected"].as_array().unwrap().iter().filter(|found| found["kind"] != "log").count(),
        0
    );
}

#[test]
fn a_leaked_cgroup_is_found_and_fixed_in_every_hierarchy() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let directories = home_cgroups(&home);
    assert!(!directories.is_empty());
    for directory in directories {
        let path = directory.join(SLOT);
        finds_and_fixes(&home, "cgroup", path.to_str().unwrap(), || {
            fs::create_dir(&path).unwrap();
            let path = path.clone();
            Leak::new(move || fs::remove_dir(path).unwrap())
        });
    }
}

#[test]
fn a_leaked_process_is_found() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    for directory in home_cgroups(&home) {
        let path = directory.join(SLOT);
        let sleeper = Started::idle();
        let pid = sleeper.pid().to_string();
        finds(&home, "process", &format!("{pid} sleep"), || {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("cgroup.procs"), &pid).unwrap();
            let path = path.clone();
            Leak::new(move || {
                drop(sleeper);
                ebbtide_tests::eventually("the cgroup is empty", std::time::Duration::from_secs(10), || {
                    fs::remove_dir(&path).ok()
                });
            })
        });
    }
}

#[test]
fn a_leaked_directory_is_found_whether_slot_or_sandbox() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    for name in [SLOT, UNKNOWN] {
        let path = home.run_dir().join("s").join(name);
        finds(&home, "directory", name, || {
            fs::create_dir(&path).unwrap();
            let path = path.clone();
            Leak::new(move || fs::remove_dir(path).unwrap())
        });
    }
}

#[test]
fn a_leaked_log_is_found() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let path = home.state_dir().join("logs").join(format!("{UNKNOWN}.log"));
    finds(&home, "log", UNKNOWN, || {
        fs::write(&path, "x").unwrap();
        let path = path.clone();
        Leak::new(move || fs::remove_file(path).unwrap())
    });
}

#[test]
fn a_leaked_socket_is_found_with_and_without_its_file() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let path = home.run_dir().join("leak.sock");
    finds(&home, "socket", "leak.sock", || {
        drop(UnixListener::bind(&path).unwrap());
        let path = path.clone();
        Leak::new(move || fs::remove_file(path).unwrap())
    });
    finds(&home, "socket", "leak.sock", || {
        let listener = UnixListener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        Leak::new(move || drop(listener))
    });
}

#[test]
fn a_leaked_id_claim_is_found_and_fixed() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let path = Path::new("/run/ebbtide/ids/leak-of-a-test").to_owned();
    finds_and_fixes(&home, "id_claim", "leak-of-a-test", || {
        fs::write(&path, format!("{} {SLOT}", home.id().unwrap())).unwrap();
        let path = path.clone();
        Leak::new(move || fs::remove_file(path).unwrap())
    });
}

#[test]
fn a_second_loop_device_on_the_pool_is_found_and_fixed() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let pool = home.state_dir().join("pool.btrfs");
    finds_and_fixes(&home, "loop_device", "/dev/loop", || {
        let device = tool("losetup", &["--find", "--show", "--read-only", pool.to_str().unwrap()]);
        Leak::new(move || drop(tool("losetup", &["--detach", &device])))
    });
}

#[test]
fn a_leaked_mount_is_found_and_fixed_on_the_host_and_in_the_launchers_namespace() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let point = home.state_dir().join("leak");
    fs::create_dir(&point).unwrap();
    let path = point.to_str().unwrap().to_owned();
    finds_and_fixes(&home, "mount", &path, || {
        tool("mount", &["-t", "tmpfs", "leak", &path]);
        let path = path.clone();
        Leak::new(move || drop(tool("umount", &[&path])))
    });
    let launcher = home.processes("ebb-launcher")[0].to_string();
    // A source that names a slot, as a mount of a slot that is gone would.
    finds_and_fixes(&home, "mount", "/tmp", || {
        let space = format!("--mount=/proc/{launcher}/ns/mnt");
        tool("nsenter", &[&space, "mount", "-t", "tmpfs", SLOT, "/tmp"]);
        Leak::new(move || drop(tool("nsenter", &[&space, "umount", "/tmp"])))
    });
}

#[test]
fn a_network_namespace_that_a_mount_keeps_is_found_also_after_its_sandbox_has_ended() {
    let machine = Machine::take();
    let home = machine.home();
    let _other = home.create(&[]);
    let id = home.create(&[]);
    let point = home.directory().join("space");
    fs::write(&point, "").unwrap();
    let path = point.to_str().unwrap().to_owned();
    finds(&home, "network_namespace", &path, || {
        tool("mount", &["--bind", &format!("/proc/{}/ns/net", home.init_of(&id)), &path]);
        // Found while its processes live, and when only the mount is left.
        doctor(&home, 1);
        let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
        let path = path.clone();
        Leak::new(move || drop(tool("umount", &[&path])))
    });
}

#[test]
fn a_descriptor_that_keeps_a_namespace_is_found_also_after_its_sandbox_has_ended() {
    let machine = Machine::take();
    let home = machine.home();
    for kind in ["net", "mnt", "user", "pid"] {
        let id = home.create(&[]);
        let name = format!("{}/", std::process::id());
        finds(&home, "descriptor", &name, || {
            let held = File::open(format!("/proc/{}/ns/{kind}", home.init_of(&id))).unwrap();
            doctor(&home, 1);
            let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
            Leak::new(move || drop(held))
        });
    }
}

#[test]
fn a_descriptor_that_keeps_a_detached_mount_is_found_also_after_its_sandbox_has_ended() {
    let machine = Machine::take();
    let home = machine.home();
    let _other = home.create(&[]);
    let id = home.create(&[]);
    finds(&home, "descriptor", &format!("{}/", std::process::id()), || {
        let held = File::open(format!("/proc/{}/root/.", home.init_of(&id))).unwrap();
        doctor(&home, 1);
        let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
        Leak::new(move || drop(held))
    });
}

#[test]
fn a_leaked_subvolume_is_found_and_fixed() {
    let machine = Machine::take();
    let home = machine.home();
    let _id = home.create(&[]);
    let launcher = home.processes("ebb-launcher")[0];
    let table = fs::read_to_string(format!("/proc/{launcher}/mountinfo")).unwrap();
    let line = table.lines().find(|line| line.contains(" - btrfs /dev/loop")).expect("the pool's mount");
    let pool = format!("/proc/{launcher}/root{}", line.split(' ').nth(4).unwrap());
    // BTRFS_IOC_SUBVOL_CREATE and BTRFS_IOC_SNAP_DESTROY.
    let script = "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\n\
        fcntl.ioctl(fd, int(sys.argv[2], 16), bytearray(bytes(8) + sys.argv[3].encode().ljust(4088, b'\\0')))";
    finds_and_fixes(&home, "quota", SLOT, || {
        let pool = pool.clone();
        tool("python3", &["-c", script, &pool, "0x5000940e", SLOT]);
        Leak::new(move || drop(tool("python3", &["-c", script, &pool, "0x5000940f", SLOT])))
    });
}

#[test]
fn everything_of_a_dead_homes_pool_is_a_leak() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = home.sh("true").run().exited(0);
    // The pool of slots stays as it was: without a launcher nobody will ever use or remove it.
    home.kill_daemon();
    home.kill_launcher();
    let report = doctor(&home, 1);
    let kinds = |kind: &str| report["leaks"].as_array().unwrap().iter().any(|leak| leak["kind"] == kind);
    for kind in ["process", "cgroup", "directory", "id_claim", "socket", "network_namespace"] {
        assert!(kinds(kind), "no {kind} in {:#?}", report["leaks"]);
    }
    // So it is for the reader that the other tests rely on, which knows nothing of doctor.
    let left = machine.left().join("\n");
    for kind in ["process ", "cgroup ", "namespace ", "file /run/ebbtide/ids/", "loop device "] {
        assert!(left.contains(kind), "no {kind} in\n{left}");
    }
    // The next command sets it right.
    let _ = home.sh("true").run().exited(0);
    doctor(&home, 0);
}

#[test]
fn a_running_record_without_its_sandbox_is_missing() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    // That it runs is written down a moment after it does.
    std::thread::sleep(std::time::Duration::from_millis(500));
    doctor(&home, 0);
    home.kill_daemon();
    let (from, to) = (home.run_dir().join("s").join(&id), home.directory().join("taken"));
    fs::rename(&from, &to).unwrap();
    let report = doctor(&home, 1);
    let missing = report["missing"].as_array().unwrap();
    assert!(missing.iter().any(|missing| missing["sandbox"] == id.as_str()), "{missing:?}");
    fs::rename(&to, &from).unwrap();
    doctor(&home, 0);
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
}

#[test]
fn each_thing_that_the_host_lacks_is_named_with_what_to_do() {
    let machine = Machine::take();
    let home = machine.home();
    let ebb = home.copy_for_everybody();
    let empty = home.directory().join("empty");
    fs::write(&empty, "0\n").unwrap();
    let empty = empty.to_str().unwrap();
    for (hide, lack) in [
        ("mount -t tmpfs none /sys/fs/cgroup".to_owned(), "cgroup v2"),
        ("mount -t tmpfs none /sys/fs/cgroup".to_owned(), "controller memory"),
        ("mount -t tmpfs none /dev".to_owned(), "loop"),
        (format!("mount --bind {empty} /proc/filesystems"), "overlay"),
        (format!("mount --bind {empty} /proc/filesystems"), "btrfs"),
        (format!("mount --bind {empty} /proc/sys/user/max_user_namespaces"), "user namespaces"),
        ("set -- setarch --uname-2.6 \"$@\"".to_owned(), "6.1"),
        ("set -- setpriv --reuid 65534 \"$@\"".to_owned(), "root"),
    ] {
        let script = format!("{hide} && \"$@\"");
        let args = ["--mount", "sh", "-c", &script, "sh", ebb.path(), "doctor", "--json"];
        // Somewhere that every user may look at.
        let output = Ebb::new("unshare", args).env("EBBTIDE_HOME", "/nonexistent-ebb-home").run();
        let report = output.exited_with_json(0);
        let lacks = report["lacks"].as_array().unwrap();
        let named = lacks.iter().find(|named| named["what"].as_str().unwrap().contains(lack));
        let named = named.unwrap_or_else(|| panic!("{hide}: no {lack} in {lacks:?}"));
        assert!(!named["help"].as_str().unwrap().is_empty());
    }
}
