//! Files and directories go in and come out whole; every path that leads nowhere says why; what a sandbox puts in the
//! way hurts nobody outside.
#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebbtide_tests::{Ebb, Machine, Output, TestHome, eventually};
use rustix::process::Signal;

/// A path in a sandbox, as `ebb cp` has it.
fn inside(id: &str, path: &str) -> String {
    format!("{id}:{path}")
}

/// A path below the test's own directory.
fn local(home: &TestHome, name: &str) -> (PathBuf, String) {
    let path = home.directory().join(name);
    let text = path.to_str().expect("a path in UTF-8").to_owned();
    (path, text)
}

fn cp(home: &TestHome, from: &str, to: &str) -> Ebb {
    home.ebb(["--json", "cp", from, to]).limit(Duration::from_secs(120))
}

/// Reason and words of a copy that is refused.
fn refused(output: Output) -> (String, String) {
    let output = output.exited(125);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("the error as JSON");
    let text = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn each_path_that_is_no_file_is_an_error_of_its_own_kind() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let _ = home
        .exec(
            &id,
            "cd /tmp && mkfifo fifo && ln -s loop loop && ln -s /dev/zero zero && mkdir dir && echo x > file &&
             python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/tmp/socket\")'",
        )
        .run()
        .exited(0);
    let sleeper = home.exec(&id, "sleep 1000 > /dev/null 2>&1 & echo $!").run().ok();
    let pagemap = format!("/proc/{sleeper}/pagemap");
    for (path, reason, words) in [
        ("/tmp/nothing", "FILE_NOT_FOUND", "no such file"),
        ("/tmp/dir", "FILE_IS_DIRECTORY", "is a directory"),
        ("/tmp/fifo", "FILE_IO_FAILED", "not a regular file"),
        ("/tmp/socket", "FILE_IO_FAILED", "not a regular file"),
        ("/dev/zero", "FILE_IO_FAILED", "not a regular file"),
        ("/tmp/zero", "FILE_IO_FAILED", "not a regular file"),
        ("/tmp/loop", "FILE_IO_FAILED", "symbolic links"),
        ("/tmp/file/below", "FILE_IO_FAILED", "not a directory"),
        // Endless: hundreds of GB, made up as they are read.
        (&pagemap, "FILE_TOO_LARGE", "at most"),
        // Doors to where the helper came from.
        ("/proc/self/root/etc/passwd", "FILE_IO_FAILED", "symbolic links"),
        ("/proc/1/root/etc/passwd", "", ""),
        ("/proc/self/exe", "FILE_IO_FAILED", "symbolic links"),
        ("/proc/self/environ", "FILE_PERMISSION_DENIED", "permission denied"),
        ("/proc/self/maps", "FILE_PERMISSION_DENIED", "permission denied"),
        ("/proc/thread-self/environ", "FILE_PERMISSION_DENIED", "permission denied"),
        ("/proc/1/environ", "FILE_PERMISSION_DENIED", "permission denied"),
        (&"x".repeat(300), "FILE_IO_FAILED", "too long"),
    ] {
        let (found, message) = refused(cp(&home, &inside(&id, path), "-").run());
        assert!(found.ends_with(reason) && message.contains(words), "{path}: {found}: {message}");
    }
    for (path, reason, words) in [
        ("/tmp/fifo", "FILE_IO_FAILED", "not a regular file"),
        ("/dev/null", "FILE_IO_FAILED", "not a regular file"),
        ("/usr/bin/new", "FILE_PERMISSION_DENIED", "read-only"),
        ("/proc/sys/kernel/core_pattern", "", ""),
        ("/proc/new", "", ""),
        ("/tmp/loop", "FILE_IO_FAILED", "symbolic links"),
        ("/tmp/file/below", "FILE_IO_FAILED", "not a directory"),
        ("/tmp/dir", "FILE_IS_DIRECTORY", "is a directory"),
    ] {
        let (found, message) = refused(cp(&home, "-", &inside(&id, path)).stdin("x").run());
        assert!(found.ends_with(reason) && message.contains(words), "{path}: {found}: {message}");
    }
    // And what the kernel makes up and has an end can be read.
    let status = cp(&home, &inside(&id, "/proc/meminfo"), "-").run().exited(0);
    assert!(String::from_utf8_lossy(&status.stdout).contains("MemTotal"));
}

#[test]
fn a_link_leads_to_the_sandboxs_own_files_wherever_it_points() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let (secret, text) = local(&home, "secret");
    fs::write(&secret, "of the host").expect("write a secret");
    let script = format!(
        "cd /tmp && ln -s {text} absolute && ln -s ../../../../../../../../../..{text} up && echo mine > /etc/mine &&
         ln -s ../../../../../../../etc/mine ok && ln -s ../etc/made through"
    );
    let _ = home.exec(&id, &script).run().exited(0);
    for name in ["/tmp/absolute", "/tmp/up"] {
        let (reason, _) = refused(cp(&home, &inside(&id, name), "-").run());
        assert_eq!(reason, "CWSANDBOX_FILE_NOT_FOUND", "{name}");
    }
    assert!(cp(&home, &inside(&id, "/tmp/ok"), "-").run().exited(0).stdout.starts_with(b"mine"));
    // A write through a link goes to what it leads to, and leaves the link.
    let _ = cp(&home, "-", &inside(&id, "/tmp/through")).stdin("new").run().exited(0);
    assert_eq!(home.exec(&id, "cat /etc/made; readlink /tmp/through").run().ok(), "new../etc/made");
    let _ = cp(&home, "-", &inside(&id, "/tmp/absolute")).stdin("new").run().exited(0);
    assert_eq!(fs::read_to_string(&secret).expect("read the secret"), "of the host");
}

#[test]
fn a_large_file_goes_both_ways_whole_and_the_daemon_stays_small() {
    const MIB: usize = 1 << 20;
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let (file, text) = local(&home, "large");
    let mut content = vec![0_u8; 192 * MIB + 7];
    let mut state = 1_u64;
    for chunk in content.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    fs::write(&file, &content).expect("write a large file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).expect("set its mode");
    let view = cp(&home, &text, &inside(&id, "/var/tmp/")).run().json();
    assert_eq!((&view["destination"], &view["bytes"]), (&"/var/tmp/large".into(), &content.len().into()));
    let sum = home.exec(&id, "sha256sum < /var/tmp/large; stat -c %a /var/tmp/large").run().ok();
    let own =
        std::process::Command::new("sh").args(["-c", &format!("sha256sum < {text}; echo 750")]).output();
    assert_eq!(sum, String::from_utf8_lossy(&own.expect("sha256sum").stdout).trim_end());
    let (back, text) = local(&home, "back");
    let _ = cp(&home, &inside(&id, "/var/tmp/large"), &text).run().exited(0);
    assert!(fs::read(&back).expect("read it") == content, "it came back changed");
    assert_eq!(fs::metadata(&back).expect("its metadata").mode() & 0o7777, 0o750);
    let daemon = home.daemon().expect("a daemon runs");
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 100 * 1024, "the daemon took {peak} kB for a file of 192 MiB");
}

/// A directory with all that a directory can have.
fn tree(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("a/b")).expect("make directories");
    fs::write(at("a/b/file"), vec![7; 300_000]).expect("write a file");
    fs::write(at("odd \n'\"$(x)*"), "odd").expect("write an odd file");
    fs::write(at(&"l".repeat(200)), "long").expect("write a long file");
    fs::write(at(".hidden"), "").expect("write a hidden file");
    symlink("b/file", at("a/link")).expect("make a link");
    symlink("/nowhere/at/all", at("dangling")).expect("make a link");
    fs::hard_link(at("a/b/file"), at("second")).expect("make a hard link");
    for (name, mode) in [("a/b/file", 0o751), (".hidden", 0o600), ("a", 0o700)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("set a mode");
    }
}

/// Type, mode, link target, number of names and content of everything in a directory.
const LISTING: &str =
    "find . -mindepth 1 -printf '%P %y %m %l\\n' | sort; find . -type f -printf '%P %n\\n' | sort;
                       find . -type f -exec sha256sum {} + | sort";

fn listing(path: &Path) -> String {
    let output = std::process::Command::new("sh").args(["-c", LISTING]).current_dir(path).output();
    String::from_utf8_lossy(&output.expect("list a directory").stdout).trim_end().to_owned()
}

#[test]
fn a_directory_goes_in_and_comes_back_as_it_was() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let (root, text) = local(&home, "tree");
    tree(&root);
    let expected = listing(&root);
    let within = |path: &str| home.exec(&id, &format!("cd {path} && {LISTING}")).run().ok();
    // As a new one, into one that is there, and only what is in it.
    let view = cp(&home, &text, &inside(&id, "/root/new")).run().json();
    assert_eq!((&view["destination"], &view["directory"]), (&"/root/new".into(), &true.into()));
    assert_eq!(within("/root/new"), expected);
    let _ = cp(&home, &text, &inside(&id, "/root")).run().exited(0);
    assert_eq!(within("/root/tree"), expected);
    let _ = home.exec(&id, "mkdir /root/there").run().exited(0);
    let _ = cp(&home, &format!("{text}/."), &inside(&id, "/root/there")).run().exited(0);
    assert_eq!(within("/root/there"), expected);
    // Back: as a new one, and into one that is there.
    let (back, text) = local(&home, "back");
    let _ = cp(&home, &inside(&id, "/root/new"), &text).run().exited(0);
    assert_eq!(listing(&back), expected);
    let _ = cp(&home, &inside(&id, "/root/there"), &text).run().exited(0);
    assert_eq!(listing(&back.join("there")), expected);
    let (reason, _) = refused(cp(&home, &inside(&id, "/root/new"), "-").run());
    assert_eq!(reason, "CWSANDBOX_FILE_IS_DIRECTORY");
}

#[test]
fn what_a_sandbox_packs_cannot_hurt_whoever_unpacks_it() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let (outside, outside_text) = local(&home, "outside");
    fs::create_dir(&outside).expect("make a directory");
    let script = format!(
        "mkdir -p /root/evil/dir && cd /root/evil && mkfifo pipe && echo x > suid && chmod 6777 suid &&
         ln -s {outside_text} out && ln -s / root && echo x > dir/file && ln -s dir also"
    );
    let _ = home.exec(&id, &script).run().exited(0);
    let (copy, text) = local(&home, "copy");
    let view = cp(&home, &inside(&id, "/root/evil"), &text).run().json();
    assert_eq!(view["skipped"], 1);
    assert_eq!(fs::metadata(copy.join("suid")).expect("the file").mode() & 0o7777, 0o777);
    assert!(!copy.join("pipe").exists());
    // The links are links. A second copy, in which they are directories, is not led out by them.
    let script = "cd /root/evil && rm out && mkdir out && echo owned > out/owned";
    let _ = home.exec(&id, script).run().exited(0);
    let output = cp(&home, &inside(&id, "/root/evil/."), &text).run();
    assert_ne!(output.code(), 0, "a directory took the place of a link");
    assert_eq!(fs::read_dir(&outside).expect("list it").count(), 0, "something got out");
}

#[test]
fn a_write_that_is_cut_off_leaves_the_old_file_and_nothing_beside_it() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let begin = || {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let to = inside(&id, "/tmp/place/file");
        let copy = home.ebb(["cp", "-", &to]).stdin_from(read).spawn();
        rustix::io::write(&write, &[7; 4096]).expect("give it something");
        eventually("the write has begun", Duration::from_secs(20), || {
            (home.exec(&id, "ls -A /tmp/place | wc -l").run().text() == "2").then_some(())
        });
        (copy, write)
    };
    let only_the_old = |what: &str| {
        eventually(what, Duration::from_secs(20), || {
            let output = home.exec(&id, "cd /tmp/place && ls -A && cat file").run();
            (output.text() == "file\nold").then_some(())
        });
    };
    let _ = cp(&home, "-", &inside(&id, "/tmp/place/file")).stdin("old").run().exited(0);
    let (copy, pipe) = begin();
    copy.signal(Signal::KILL);
    let _ = copy.wait();
    drop(pipe);
    only_the_old("a killed client leaves the old file");
    let (copy, pipe) = begin();
    copy.signal(Signal::INT);
    assert_eq!(copy.wait().code(), 130);
    drop(pipe);
    only_the_old("Ctrl-C leaves the old file");
    let (copy, pipe) = begin();
    home.kill_daemon();
    drop(pipe);
    let _ = copy.wait().exited(125);
    only_the_old("a killed daemon leaves the old file");
    // A stop does not wait for a copy, though it would for a command.
    let (copy, pipe) = begin();
    let _ = home.ebb(["stop", "--grace", "100", &id]).limit(Duration::from_secs(50)).run().exited(0);
    let said = copy.wait().exited(125).error();
    assert!(said.contains("not running") || said.contains("ended inside"), "{said}");
    drop(pipe);
}

#[test]
fn a_helper_is_closed_to_the_sandbox_that_it_works_in() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let copy = home.ebb(["cp", "-", &inside(&id, "/tmp/file")]).stdin_from(read).spawn();
    let probe = r#"
import ctypes, os
helpers = [p for p in os.listdir("/proc") if p.isdigit() and open(f"/proc/{p}/comm").read() == "ebb-helper\n"]
if not helpers:
    print("none")
for pid in helpers:
    attempts = {
        "its program": lambda: os.readlink(f"/proc/{pid}/exe"),
        "its environment": lambda: open(f"/proc/{pid}/environ", "rb").read(),
        "its memory": lambda: open(f"/proc/{pid}/mem", "rb"),
        "its root": lambda: os.listdir(f"/proc/{pid}/root"),
        "its descriptors": lambda: os.listdir(f"/proc/{pid}/fd"),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            print("open:", name)
        except PermissionError:
            pass
    if ctypes.CDLL(None).ptrace(16, int(pid), 0, 0) == 0:
        print("open: tracing")
    status = open(f"/proc/{pid}/status").read()
    print("closed" if "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status else status)
"#;
    let said = eventually("the helper is there", Duration::from_secs(20), || {
        let output = home.ebb(["exec", &id, "--", "python3", "-c", probe]).run().exited(0);
        (output.text() != "none").then(|| output.text())
    });
    assert_eq!(said, "closed");
    drop(write);
    let _ = copy.wait().exited(0);
}

#[test]
fn a_full_disk_is_told_and_leaves_the_old_file() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[defaults]\ndisk = \"64Mi\"\n");
    let id = home.create(&[]);
    let _ = cp(&home, "-", &inside(&id, "/var/tmp/file")).stdin("old").run().exited(0);
    let (file, text) = local(&home, "large");
    let noise: Vec<u8> =
        (0..150_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&file, noise).expect("write a large file");
    for to in ["/var/tmp/file", "/var/tmp/new"] {
        let (reason, message) = refused(cp(&home, &text, &inside(&id, to)).run());
        assert_eq!(reason, "CWSANDBOX_FILE_IO_FAILED", "{message}");
        assert!(message.contains("no space left"), "{message}");
    }
    assert_eq!(home.exec(&id, "cd /var/tmp && ls -A && cat file").run().ok(), "file\nold");
    let (directory, text) = local(&home, "directory");
    fs::create_dir(&directory).expect("make a directory");
    fs::rename(&file, directory.join("large")).expect("move a file");
    let (_, message) = refused(cp(&home, &text, &inside(&id, "/var/tmp")).run());
    assert!(message.contains("no space left"), "{message}");
}

#[test]
fn the_way_of_the_public_client_for_large_files_works() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let content: Vec<u8> = (0..3_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let size = content.len().to_string();
    let write = r#"head -c "$2" > "$1" && test "$(wc -c < "$1")" -eq "$2""#;
    let args = ["exec", &id, "--", "/bin/sh", "-c", write, "cwsandbox-write-file", "/tmp/f", &size];
    let _ = home.ebb(args).stdin(content.clone()).run().exited(0);
    let stat = ["exec", &id, "--", "/bin/sh", "-c", r#"stat -c %s -- "$1""#, "cwsandbox-stat", "/tmp/f"];
    assert_eq!(home.ebb(stat).run().ok(), size);
    let cat = home.ebb(["exec", &id, "--", "/bin/cat", "--", "/tmp/f"]).run().exited(0);
    assert!(cat.stdout == content, "it came back changed");
}

#[test]
fn a_copy_between_two_of_the_same_kind_is_a_mistake_of_the_command_line() {
    let machine = Machine::take();
    let home = machine.home();
    for (from, to) in [("/etc/passwd", "/tmp/x"), ("a:/x", "b:/x"), ("-", "-")] {
        let _ = home.ebb(["cp", from, to]).run().exited(2);
    }
}
