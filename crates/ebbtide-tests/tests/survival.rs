//! Who dies, who notices, what happens: daemon, launcher, init and owner, killed alone and together.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_tests::{Machine, Started, TestHome, command::kill, eventually, home::is_alive};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn ended(home: &TestHome, id: &str) -> Value {
    eventually("the sandbox ends", LIMIT, || {
        let sandbox = home.get(id);
        sandbox["ended_at"].is_string().then_some(sandbox)
    })
}

fn works(home: &TestHome, id: &str) {
    assert_eq!(home.exec(id, "echo alive").run().ok(), "alive", "{id}");
}

#[test]
fn an_init_comes_to_its_end_without_a_word_of_complaint() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = home.sh("exit 3").run().exited(3);
    let id = home.create(&[]);
    let _ = home.ebb(["stop", &id]).run().exited(0);
    // Where an init writes what it dies of, after it has put its end on record.
    let log = fs::read_to_string(home.state_dir().join("launcher.log")).unwrap_or_default();
    assert_eq!(log, "");
}

#[test]
fn sandboxes_outlive_the_daemon_and_the_next_one_takes_them_over() {
    let machine = Machine::take();
    let home = machine.home();
    let mut idle: Vec<String> = (0..7).map(|_| home.create(&[])).collect();
    let later = home.create(&["--", "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 9"]);
    let meanwhile = home.create(&["--", "sh", "-c", "sleep 3; exit 5"]);
    let short = home.create(&["--lifetime", "15"]);
    let init = home.init_of(&meanwhile);

    home.kill_daemon();
    eventually("the main command ends while no daemon runs", LIMIT, || (!is_alive(init)).then_some(()));
    assert!(home.daemon().is_none(), "somebody started a daemon");

    let sandbox = ended(&home, &meanwhile);
    assert_eq!(home.live(), 9, "not all were taken over");
    assert_eq!((&sandbox["state"], &sandbox["exit_code"]), (&"completed".into(), &5.into()), "{sandbox}");
    assert_eq!(sandbox["reason"], "main_exited");
    for id in idle.iter().chain([&later]) {
        works(&home, id);
    }
    // The end of the main command may take this one with it.
    let _ = home.exec(&later, "touch /tmp/go").run();
    let sandbox = ended(&home, &later);
    assert_eq!((&sandbox["state"], &sandbox["exit_code"]), (&"completed".into(), &9.into()), "{sandbox}");
    let sandbox = ended(&home, &short);
    assert_eq!(sandbox["reason"], "lifetime_expired", "{sandbox}");
    idle.push(home.create(&[]));
    for id in &idle {
        let _ = home.ebb(["stop", "--grace", "0", id]).run().exited(0);
        assert_eq!(home.get(id)["reason"], "stopped");
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn a_deadline_fires_while_no_daemon_runs() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--lifetime", "3"]);
    let init = home.init_of(&id);
    home.kill_daemon();
    eventually("the deadline ends the init", LIMIT, || (!is_alive(init)).then_some(()));
    assert!(home.daemon().is_none());
    assert_eq!(ended(&home, &id)["reason"], "lifetime_expired");
}

#[test]
fn the_launchers_death_ends_nothing_and_a_new_one_carries_on() {
    let machine = Machine::take();
    let home = machine.home();
    let idle = home.create(&[]);
    let main = home.create(&["--", "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 6"]);
    home.kill_launcher();
    works(&home, &idle);
    let fresh = home.create(&[]);
    for id in [&idle, &main, &fresh] {
        works(&home, id);
    }
    // The end of the main command may take this one with it.
    let _ = home.exec(&main, "touch /tmp/go").run();
    let sandbox = ended(&home, &main);
    assert_eq!((&sandbox["reason"], &sandbox["exit_code"]), (&"main_exited".into(), &6.into()), "{sandbox}");
    for id in [&idle, &fresh] {
        let _ = home.ebb(["stop", "--grace", "0", id]).run().exited(0);
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn a_program_that_is_replaced_or_removed_under_live_sandboxes_harms_nobody_and_keeps_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let (source, directory) = (home.binary().to_owned(), home.directory().to_owned());
    let program = directory.join("ebb");
    let put = || {
        let fresh = directory.join("fresh");
        fs::copy(&source, &fresh).and_then(|_| fs::rename(&fresh, &program)).unwrap();
        fs::metadata(&program).unwrap().ino()
    };
    put();
    let home = home.with_binary(program.clone());
    let owner = Started::idle();
    let pid = owner.pid().to_string();
    let owned = home.create(&["--owner", &pid, "--orphan-grace", "1"]);
    let idle = home.create(&[]);
    let old = home.daemon().unwrap();

    let replaced = put();
    [&owned, &idle].into_iter().for_each(|id| works(&home, id));
    assert_eq!(home.daemon(), Some(old), "the old daemon serves the new program");
    home.kill_daemon();
    home.kill_launcher();
    [&owned, &idle].into_iter().for_each(|id| works(&home, id));
    let daemon = fs::metadata(format!("/proc/{}/exe", home.daemon().unwrap())).unwrap();
    assert_eq!(daemon.ino(), replaced, "the next daemon is of the new program");

    let init = home.init_of(&owned);
    fs::remove_file(&program).unwrap();
    drop(owner);
    eventually("what a dead owner has left goes with no program there", LIMIT, || {
        (!is_alive(init)).then_some(())
    });
    put();
    assert_eq!(ended(&home, &owned)["reason"], "owner_gone");
    works(&home, &idle);
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn a_launcher_that_dies_while_the_daemon_starts_is_replaced() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    for delay in (0..40_000).step_by(400).map(Duration::from_micros) {
        home.kill_daemon();
        let list = home.ebb(["list"]).spawn();
        std::thread::sleep(delay);
        for launcher in home.processes("ebb-launcher") {
            kill(launcher, Signal::KILL);
        }
        let _ = list.wait().exited(0);
    }
    works(&home, &id);
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn an_inits_death_ends_its_sandbox_and_no_other() {
    let machine = Machine::take();
    let home = machine.home();
    let (victim, other) = (home.create(&["--", "sleep", "600"]), home.create(&[]));
    kill(home.init_of(&victim), Signal::KILL);
    let sandbox = ended(&home, &victim);
    assert_eq!(
        (&sandbox["state"], &sandbox["reason"]),
        (&"failed".into(), &"init_killed".into()),
        "{sandbox}"
    );
    assert!(sandbox["exit_code"].is_null());
    works(&home, &other);
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn daemon_and_launcher_die_together_and_the_sandboxes_live_on() {
    let machine = Machine::take();
    let home = machine.home();
    let ids: Vec<String> = (0..3).map(|_| home.create(&[])).collect();
    let main = home.create(&["--", "sh", "-c", "sleep 2; exit 4"]);
    let init = home.init_of(&main);
    home.kill_daemon();
    home.kill_launcher();
    eventually("the main command ends while neither runs", LIMIT, || (!is_alive(init)).then_some(()));
    for id in &ids {
        works(&home, id);
    }
    let sandbox = ended(&home, &main);
    assert_eq!((&sandbox["state"], &sandbox["exit_code"]), (&"completed".into(), &4.into()), "{sandbox}");
    works(&home, &home.create(&[]));
    let _ = home.ebb(["purge", "--all", "--yes"]).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn everything_dies_together_and_every_sandbox_ends_with_a_reason() {
    let machine = Machine::take();
    let home = machine.home();
    let ids: Vec<String> = (0..3).map(|_| home.create(&["--", "sleep", "600"])).collect();
    let inits: Vec<u32> = ids.iter().map(|id| home.init_of(id)).collect();
    home.kill_daemon();
    home.kill_launcher();
    inits.iter().for_each(|init| kill(*init, Signal::KILL));
    for id in &ids {
        let sandbox = ended(&home, id);
        assert_eq!(sandbox["state"], "failed", "{sandbox}");
        assert_eq!(sandbox["reason"], "init_killed", "{sandbox}");
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
}

#[test]
fn a_terminated_daemon_leaves_its_sandboxes() {
    let machine = Machine::take();
    let home = machine.home();
    let serve = home.ebb(["serve"]).spawn();
    eventually("the daemon listens", LIMIT, || {
        home.run_dir_if_any()?.join("ebb.sock").exists().then_some(())
    });
    let id = home.create(&[]);
    serve.signal(Signal::TERM);
    let _ = serve.wait().exited(0);
    assert!(is_alive(home.init_of(&id)));
    works(&home, &id);
}

#[test]
fn a_first_call_finds_the_daemon_that_is_just_starting() {
    let machine = Machine::take();
    let home = machine.home();
    let serve = home.ebb(["serve"]).spawn();
    eventually("the daemon has the home", LIMIT, || home.daemon());
    let _ = home.create(&[]);
    assert_eq!(home.daemon(), Some(serve.pid()), "another daemon was started");
    home.shutdown();
    let _ = serve.wait().exited(0);
}

#[test]
fn a_killed_run_is_gone_after_the_grace() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nowner_grace_seconds = 2\n");
    let running = home.sh("echo up; sleep 600").spawn();
    let id = eventually("the command runs", LIMIT, || {
        let list = home.ebb(["list", "--state", "running", "--json"]).run().json();
        Some(list["sandboxes"][0]["id"].as_str()?.to_owned())
    });
    let init = home.init_of(&id);
    running.signal(Signal::KILL);
    let _ = running.wait().exited(137);
    assert_eq!(ended(&home, &id)["end"]["reason"], "owner_gone");
    assert!(!is_alive(init));
}

#[test]
fn a_killed_run_is_gone_after_the_grace_though_the_daemon_died_with_it() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nowner_grace_seconds = 3\n");
    let running = home.sh("sleep 600").spawn();
    let id = eventually("the command runs", LIMIT, || {
        let list = home.ebb(["list", "--state", "running", "--json"]).run().json();
        Some(list["sandboxes"][0]["id"].as_str()?.to_owned())
    });
    let init = home.init_of(&id);
    running.signal(Signal::KILL);
    home.kill_daemon();
    home.kill_launcher();
    let _ = running.wait().exited(137);
    eventually("the init ends by itself", LIMIT, || (!is_alive(init)).then_some(()));
    assert_eq!(ended(&home, &id)["end"]["reason"], "owner_gone");
}

#[test]
fn a_sandbox_ends_with_the_process_that_it_is_tied_to() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nowner_grace_seconds = 1\n");
    let owner = Started::idle();
    let id = home.create(&["--owner", &owner.pid().to_string()]);
    works(&home, &id);
    drop(owner);
    assert_eq!(ended(&home, &id)["end"]["reason"], "owner_gone");
}

#[test]
fn a_sigterm_ends_a_sandbox_only_while_its_host_is_shut_down() {
    let machine = Machine::take();
    let home = machine.home();
    let name = home.directory().join("systemd-shutdown");
    std::os::unix::fs::symlink("/bin/sleep", &name).expect("name a program as systemd does");
    // A host of its own, as far as processes go, whose process 1 becomes the program that shuts it down.
    let host = "\"$0\" list </dev/null >/dev/null && echo up && read -r word && exec \"$1\" 600";
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", host]).arg(home.binary());
    unshare.arg(&name).env("EBBTIDE_HOME", home.state_dir()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut unshare = Started::new(&mut unshare);
    let mut line = String::new();
    BufReader::new(unshare.stdout()).read_line(&mut line).expect("read a line");
    assert_eq!(line, "up\n");
    let idle = home.create(&["--detach"]);
    let deaf = home.create(&["--detach", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    let ids = [&idle, &deaf, &home.create(&["--detach", "--", "sleep", "600"])];
    let inits = ids.map(|id| home.init_of(id));
    inits.iter().for_each(|init| kill(*init, Signal::TERM));
    ids.iter().for_each(|id| works(&home, id));
    writeln!(unshare.stdin(), "go").expect("shut the host down");
    let process_1 = || {
        let children = format!("/proc/{0}/task/{0}/children", unshare.pid());
        let child = fs::read_to_string(children).unwrap_or_default();
        fs::read_to_string(format!("/proc/{}/comm", child.trim())).unwrap_or_default()
    };
    eventually("it is shut down", LIMIT, || (process_1() == "systemd-shutdow\n").then_some(()));
    inits.iter().for_each(|init| kill(*init, Signal::TERM));
    for (id, init) in ids.iter().zip(inits) {
        assert_eq!(ended(&home, id)["reason"], "host_restarted");
        assert!(!is_alive(init));
    }
}
