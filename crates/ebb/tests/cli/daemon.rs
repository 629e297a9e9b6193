//! The daemon as its users meet it: started on first use, one for a home, gone when it should be.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Answer, Home, eventually};

/// A daemon in the foreground that can be called.
fn serve(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.ebb(&[&["serve", "--json"], arguments].concat());
    let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["pid"], daemon.id());
    daemon
}

fn terminate(daemon: &Child) {
    let pid = rustix::process::Pid::from_child(daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn twenty_first_callers_get_one_daemon() {
    let home = Home::new();
    let callers: Vec<Child> = (0..20)
        .map(|_| {
            let mut command = home.ebb(&["list", "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for caller in callers {
        let answer = Answer::from(caller.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
    }
    let log = fs::read_to_string(home.path().join("daemon.log")).unwrap();
    assert_eq!(log.matches(" serving ").count(), 1, "{log}");
}

#[test]
fn a_daemon_that_was_started_on_first_use_holds_nothing_of_its_starter() {
    let home = Home::new();
    let mut command = home.ebb(&["list"]);
    command.env("SECRET_TOKEN", "hunter2").stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut caller = command.spawn().unwrap();
    // Both ends only when nobody holds the write ends any more, a daemon included.
    for mut pipe in [
        Box::new(caller.stdout.take().unwrap()) as Box<dyn std::io::Read>,
        Box::new(caller.stderr.take().unwrap()),
    ] {
        pipe.read_to_end(&mut Vec::new()).unwrap();
    }
    assert!(caller.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(30));
    let pid = home.daemon().unwrap();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("hunter2"));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "no session of its own");
}

#[test]
fn descriptors_that_were_left_open_do_not_reach_the_daemon() {
    let home = Home::new();
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec 7>&1; exec \"$0\" list >/dev/null", env!("CARGO_BIN_EXE_ebb")])
        .env("EBBTIDE_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut caller = shell.spawn().unwrap();
    // Descriptor 7 of the caller is this pipe as well.
    caller.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    assert!(caller.wait().unwrap().success());
    assert!(home.daemon().is_some(), "the daemon is gone, so this proved nothing");
}

#[test]
fn limits_of_the_starter_do_not_reach_the_daemon() {
    let home = Home::new();
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "ulimit -S -n 64; ulimit -S -f 1000; umask 077; exec \"$0\" list",
            env!("CARGO_BIN_EXE_ebb"),
        ])
        .env("EBBTIDE_HOME", home.path());
    let answer = Answer::of(&mut shell);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let limits = fs::read_to_string(format!("/proc/{}/limits", home.daemon().unwrap())).unwrap();
    let soft = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert!(soft("Max open files").parse::<u64>().unwrap() > 64, "{limits}");
    assert_eq!(soft("Max file size"), "unlimited", "{limits}");
}

#[test]
fn a_second_daemon_on_a_home_is_refused_and_names_the_first() {
    let home = Home::new();
    let mut first = serve(&home, &[]);
    let second = home.run(&["serve"]);
    assert_eq!(second.code, 125);
    assert!(second.stderr.contains(&format!("process {}", first.id())), "{}", second.stderr);
    assert!(second.stderr.contains("ebb shutdown"), "{}", second.stderr);
    assert_eq!(home.run(&["list"]).code, 0, "the first one was disturbed");
    terminate(&first);
    assert_eq!(first.wait().unwrap().code(), Some(0));
}

#[test]
fn an_idle_daemon_goes_and_the_next_caller_starts_another() {
    let home = Home::new();
    let mut first = serve(&home, &["--idle-exit", "1"]);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(home.run(&["list"]).code, 0);
    assert!(home.daemon().is_some_and(|pid| pid != first.id()));
}

#[test]
fn callers_that_meet_a_daemon_on_its_way_out_never_notice() {
    for round in 0..5 {
        let home = Home::new();
        let mut first = serve(&home, &["--idle-exit", "1"]);
        std::thread::sleep(Duration::from_millis(990 + 5 * round));
        let callers: Vec<Child> = (0..20)
            .map(|_| {
                home.ebb(&["list", "--json"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for caller in callers {
            let answer = Answer::from(caller.wait_with_output().unwrap());
            assert_eq!(answer.code, 0, "{}", answer.stderr);
        }
        terminate(&first);
        first.wait().unwrap();
    }
}

#[test]
fn a_shutdown_leaves_neither_daemon_nor_run_directory_and_can_be_repeated() {
    let home = Home::new();
    assert_eq!(home.run(&["list"]).code, 0);
    let (pid, run_dir) = (home.daemon().unwrap(), home.run_dir());
    let answer = home.run(&["shutdown", "--json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.stdout.parse::<serde_json::Value>().unwrap()["was_running"], true);
    assert_eq!(home.daemon(), None, "process {pid} lives on");
    assert!(!run_dir.exists());
    assert_eq!(home.run(&["shutdown"]).code, 0);
    assert!(!run_dir.exists());
}

#[test]
fn a_daemon_whose_home_is_deleted_goes_and_takes_its_run_directory() {
    let home = Home::new();
    assert_eq!(home.run(&["list"]).code, 0);
    let (pid, run_dir) = (home.daemon().unwrap(), home.run_dir());
    fs::remove_dir_all(home.path()).unwrap();
    eventually("the end of the daemon", || !fs::exists(format!("/proc/{pid}")).unwrap());
    assert!(!run_dir.exists());
}

#[test]
fn a_deep_home_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(200)).join("y".repeat(200));
    let ebb = |verb| {
        Answer::of(std::process::Command::new(env!("CARGO_BIN_EXE_ebb")).arg(verb).env("EBBTIDE_HOME", &deep))
    };
    let listed = ebb("list");
    let ended = ebb("shutdown");
    assert_eq!((listed.code, ended.code), (0, 0), "{} {}", listed.stderr, ended.stderr);
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_and_shown_to_the_caller() {
    let home = Home::new();
    fs::create_dir(home.path()).unwrap();
    fs::write(home.path().join("ebbtide.toml"), "[limits]\nmax_lifetime = 5\n").unwrap();
    let answer = home.run(&["list"]);
    assert_eq!(answer.code, 125);
    assert!(
        answer.stderr.contains("ebbtide.toml") && answer.stderr.contains("max_lifetime"),
        "{}",
        answer.stderr
    );
    fs::remove_file(home.path().join("ebbtide.toml")).unwrap();
    assert_eq!(home.run(&["list"]).code, 0, "a failed start is in the way of the next");
}

#[test]
fn a_sandbox_that_is_not_there_is_said_to_be_so() {
    let home = Home::new();
    for id in ["01k3qxm2v4t5w6x7y8z9a0b1c2", "nope", "..", "NUL"] {
        let answer = home.run(&["get", id]);
        assert_eq!(answer.code, 125, "{id}");
        assert!(answer.stderr.contains("ebb list --all"), "{id}: {}", answer.stderr);
        assert_eq!(home.run(&["stop", id]).code, 125, "{id}");
        assert_eq!(home.run(&["stop", "--missing-ok", id]).code, 0, "{id}");
    }
    let several = home.run(&["stop", "--json", "nope", "nope2"]);
    assert_eq!(several.code, 1);
    let outcomes: serde_json::Value = serde_json::from_str(&several.stdout).unwrap();
    assert_eq!(outcomes["sandboxes"][1]["outcome"], "failed");
}
