//! What a sandbox sees of the host, and what it may do to it: nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use ebbtide_tests::{Machine, TestHome};
use serde_json::Value;

/// Tries everything and says what came of it, as JSON: an error number, or what was seen.
const PROBE: &str = r#"
import ctypes, errno, json, os, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
seen = {}
def attempt(name, function):
    try:
        seen[name] = function()
    except OSError as error:
        seen[name] = errno.errorcode.get(error.errno, str(error.errno))
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def write(path, text="x"):
    fd = os.open(path, os.O_WRONLY)
    try:
        return os.write(fd, text.encode())
    finally:
        os.close(fd)
def connect(address):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(address)
    return "connected"
canary = sys.argv[1]
pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
seen["processes"] = {pid: open(f"/proc/{pid}/comm").read().strip() for pid in pids}
seen["interfaces"] = sorted(name for _, name in socket.if_nameindex())
seen["hostname"] = socket.gethostname()
seen["descriptors"] = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
seen["status"] = {name: value.strip() for name, value in (line.split(":", 1) for line in open("/proc/self/status"))}
seen["mounts"] = open("/proc/self/mountinfo").read()
seen["cgroup"] = open("/proc/self/cgroup").read()
for name in ["/root", "/home", "/var/lib", "/run"]:
    attempt("list " + name, lambda: os.listdir(name))
attempt("canary", lambda: open(canary).read())
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("write usr", lambda: write_new("/usr/ebb-escape"))
attempt("write etc", lambda: write_new("/etc/ebb-escape"))
attempt("write root", lambda: write_new("/ebb-escape"))
attempt("init exe", lambda: os.readlink("/proc/1/exe"))
attempt("init exe open", lambda: os.open("/proc/1/exe", os.O_RDONLY))
attempt("init root", lambda: os.listdir("/proc/1/root"))
attempt("init fds", lambda: os.listdir("/proc/1/fd"))
attempt("init environ", lambda: open("/proc/1/environ").read())
attempt("abstract", lambda: connect("\0" + sys.argv[2]))
attempt("sysrq", lambda: "device" if stat.S_ISCHR(os.stat("/proc/sysrq-trigger").st_mode) else write("/proc/sysrq-trigger", "h"))
attempt("kcore", lambda: len(open("/proc/kcore", "rb").read(16)))
attempt("keys", lambda: len(open("/proc/keys", "rb").read(16)))
attempt("core_pattern", lambda: write("/proc/sys/kernel/core_pattern", "|/bin/sh"))
attempt("sysctl", lambda: write("/proc/sys/kernel/hostname", "mine"))
attempt("oom", lambda: write("/proc/self/oom_score_adj", "-1000"))
attempt("mknod", lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0)))
attempt("mount", lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None))
attempt("umount", lambda: call(166, b"/proc", 2))
attempt("fsopen", lambda: call(430, b"tmpfs", 0))
attempt("unshare user", lambda: call(272, 0x10000000))
attempt("unshare mount", lambda: call(272, 0x00020000))
attempt("setns", lambda: call(308, os.open("/proc/self/ns/net", os.O_RDONLY), 0))
attempt("clone3", lambda: call(435, None, 0))
attempt("keyctl", lambda: call(250, 1, b"mine"))
attempt("add_key", lambda: call(248, b"user", b"a", b"b", 1, -2))
attempt("ptrace", lambda: call(101, 16, 1, 0, 0))
attempt("bpf", lambda: call(321, 0, None, 0))
attempt("perf", lambda: call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0))
attempt("io_uring", lambda: call(425, 1, ctypes.create_string_buffer(120)))
attempt("userfaultfd", lambda: call(323, 0))
attempt("chroot escape", lambda: os.chroot("/proc/1/root"))
attempt("reboot", lambda: call(169, 0xfee1dead, 672274793, 0, None))
attempt("settime", lambda: call(227, 0, ctypes.create_string_buffer(16)))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).fileno() >= 0)
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).fileno() >= 0)
attempt("inet", lambda: socket.create_connection(("1.1.1.1", 80), timeout=3) and "connected")
attempt("tiocsti", lambda: call(16, 0, 0x5412, b"x"))
attempt("kill init", lambda: os.kill(1, 9))
attempt("kill all", lambda: None)
print(json.dumps(seen))
"#;

/// Makes a file where nothing of the host may appear.
const WRITE_NEW: &str = "def write_new(path):\n    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)\n    os.close(fd)\n    return 'written inside'\n";

fn probe(home: &TestHome, id: &str, canary: &str, socket: &str) -> Value {
    let script = PROBE.replacen("canary = ", &format!("{WRITE_NEW}canary = "), 1);
    home.ebb(["exec", id, "--", "python3", "-c", &script, canary, socket]).run().json()
}

#[test]
fn a_sandbox_sees_nothing_of_the_host_and_reaches_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let canary = home.directory().join("canary");
    std::fs::write(&canary, "of the host").unwrap();
    let name = format!("ebb-e2e-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();

    let id = home.create(&[]);
    let seen = probe(&home, &id, canary.to_str().unwrap(), &name);
    let is = |what: &str, accepted: &[&str]| {
        let answer = seen[what].as_str().unwrap_or_default();
        assert!(accepted.contains(&answer), "{what}: {} and not one of {accepted:?}", seen[what]);
    };

    let processes = seen["processes"].as_object().unwrap();
    assert!(processes.len() <= 3 && processes.contains_key("1"), "{processes:?}");
    assert_eq!(seen["interfaces"], serde_json::json!(["lo"]));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_ne!(seen["hostname"], host.as_str());
    // The fourth is that of the listing itself.
    assert!(seen["descriptors"].as_array().unwrap().len() <= 4, "{}", seen["descriptors"]);
    for text in ["mounts", "cgroup"] {
        let text = seen[text].as_str().unwrap();
        assert!(!text.contains(home.directory().to_str().unwrap()), "the host's paths show: {text}");
    }
    assert_eq!(seen["status"]["NoNewPrivs"], "1");
    assert_eq!(seen["status"]["Seccomp"], "2");

    for directory in ["/root", "/home", "/var/lib", "/run"] {
        let listed = &seen[format!("list {directory}")];
        let empty = listed.as_array().is_none_or(Vec::is_empty);
        assert!(empty, "{directory}: {listed}");
    }
    is("canary", &["ENOENT"]);
    is("shadow", &["ENOENT", "EACCES", "EPERM"]);
    for path in ["/usr/ebb-escape", "/etc/ebb-escape", "/ebb-escape"] {
        assert!(!std::path::Path::new(path).exists(), "{path} appeared on the host");
    }
    for what in ["init exe", "init exe open", "init root", "init fds", "init environ"] {
        is(what, &["EACCES", "EPERM"]);
    }
    is("abstract", &["ECONNREFUSED", "ENOENT"]);
    is("sysrq", &["device", "EACCES", "EROFS", "ENOENT"]);
    for what in ["kcore", "keys"] {
        let answer = &seen[what];
        assert!(*answer == 0 || answer.is_string(), "{what}: {answer} bytes could be read");
    }
    for what in ["core_pattern", "sysctl", "oom"] {
        is(what, &["EACCES", "EPERM", "EROFS", "ENOENT"]);
    }
    for what in [
        "mknod",
        "mount",
        "umount",
        "fsopen",
        "unshare user",
        "unshare mount",
        "setns",
        "keyctl",
        "add_key",
        "ptrace",
        "bpf",
        "perf",
        "io_uring",
        "userfaultfd",
        "chroot escape",
        "reboot",
        "settime",
    ] {
        is(what, &["EPERM", "EACCES", "ENOSYS"]);
    }
    is("clone3", &["ENOSYS", "EPERM"]);
    is("vsock", &["EPERM", "EACCES", "EAFNOSUPPORT", "EINVAL"]);
    is("packet", &["EPERM", "EACCES", "EAFNOSUPPORT"]);
    is("inet", &["ENETUNREACH", "EHOSTUNREACH", "ECONNREFUSED"]);

    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive", "init was ended from inside");
}

#[test]
fn what_is_written_in_one_sandbox_is_not_in_the_next() {
    let machine = Machine::take();
    let home = machine.home();
    let [first, second] = [home.create(&[]), home.create(&[])];
    let _ = home
        .exec(&first, "echo secret >/tmp/note && mkdir -p /var/tmp/x && echo secret >/var/tmp/x/y")
        .run()
        .exited(0);
    let _ = home.exec(&second, "test ! -e /tmp/note && test ! -e /var/tmp/x").run().exited(0);
    assert_eq!(home.exec(&first, "cat /tmp/note").run().ok(), "secret");
}

#[test]
fn a_sandbox_finds_a_new_disk_whatever_the_one_before_it_did() {
    let machine = Machine::take();
    let home = machine.home();
    let look = "ls -A / /tmp /var; stat -c '%n %a %u %g' / /tmp /etc; lsattr -d / 2>/dev/null; true";
    let new = home.ebb(["run", "--", "sh", "-c", look]).run().ok();
    for deed in [
        "true",
        "touch /marker",
        "mkdir /gone; rmdir /gone",
        "chmod 700 /",
        "chown 1:1 /",
        "touch -d 2001-01-01 /",
        "chmod 700 /tmp; touch /tmp/marker",
        "head -c 20M /dev/urandom >/tmp/big; rm /tmp/big",
        "rm -rf /etc/ebb /var/*; echo x >/etc/hostname",
        "kill -9 -1",
    ] {
        // Often enough to meet what each has left.
        for _ in 0..4 {
            let script = format!("{look}; {{ {deed}; }} >/dev/null 2>&1");
            let seen = home.ebb(["run", "--", "sh", "-c", &script]).run().text();
            assert_eq!(seen.trim(), new, "around {deed:?}");
        }
    }
}

#[test]
fn a_sandbox_cannot_signal_a_process_outside() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let other = home.create(&[]);
    let _ = home.exec(&id, "kill -9 -1; true").run();
    assert_eq!(home.state(&id), "running");
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
    assert_eq!(home.exec(&other, "echo alive").run().ok(), "alive");
}

#[test]
fn no_descriptor_of_the_runtime_leads_out_by_way_of_the_working_directory() {
    let machine = Machine::take();
    let home = machine.home();
    std::fs::write(home.directory().join("canary"), "of the host").unwrap();
    let inside = home.sh("ls /").run().ok();
    for number in 3..16 {
        let directory = format!("/proc/self/fd/{number}");
        let climb = "pwd -P; cd ../../../../../../..; ls; cat canary tmp/*/canary 2>/dev/null";
        let output = home.ebb(["run", "--workdir", &directory, "--", "sh", "-c", climb]).run();
        if output.code() != 125 {
            let said = output.text();
            assert!(!said.contains("of the host"), "{directory}: {said}");
            let listed = said.lines().skip(1).collect::<Vec<_>>().join("\n");
            assert_eq!(listed, inside, "{directory} leads somewhere else");
        }
    }
}

#[test]
fn the_program_of_the_runtime_cannot_be_written_from_inside() {
    let machine = Machine::take();
    let home = machine.home();
    let before = std::fs::metadata(home.binary()).unwrap();
    let id = home.create(&[]);
    let attack = "for exe in /proc/[0-9]*/exe; do (exec 3>>$exe) 2>/dev/null && readlink $exe; done; true";
    let written = home.exec(&id, attack).run().ok();
    assert!(!written.contains("ebb"), "{written}");
    let after = std::fs::metadata(home.binary()).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}
