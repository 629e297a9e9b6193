//! What is left to look at of a sandbox whose main command has failed.

use std::time::Duration;

use ebbtide::{
    ConnectOptions, Connection, HomeLocation, Keep, SandboxDefaults, SandboxState, Session, StopOptions,
    Target,
};
use ebbtide_tests::{Machine, TestHome, eventually};
use serde_json::Value;

use crate::LIMIT;

const FAILS: &str = "echo said; echo half > /tmp/result; sleep 300 & exit 3";

fn failing<'a>(keep: &'a str, keep_for: &'a str) -> [&'a str; 8] {
    ["--keep", keep, "--keep-for", keep_for, "--", "sh", "-c", FAILS]
}

fn kept(home: &TestHome, id: &str) -> Value {
    eventually("it is kept", LIMIT, || {
        let sandbox = home.get(id);
        (sandbox["ownership"]["kind"] == "kept").then_some(sandbox)
    })
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/ns/pid")).exists()
}

#[test]
fn the_files_of_a_failed_main_command_can_be_had_until_their_time_is_over() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&failing("on_failure", "12"));
    let sandbox = kept(&home, &id);
    assert_eq!((&sandbox["state"], &sandbox["exit_code"]), (&"completed".into(), &3.into()), "{sandbox}");
    assert_eq!(sandbox["main_end"]["exit_code"], 3, "{sandbox}");
    assert_eq!(sandbox["main_end"]["files_until"], sandbox["ownership"]["until"], "{sandbox}");
    assert_eq!(sandbox["end"], Value::Null, "{sandbox}");
    assert_eq!(home.exec(&id, "cat /tmp/result").run().ok(), "half");
    let copy = home.directory().join("result");
    let _ = home.ebb(["cp", &format!("{id}:/tmp/result"), copy.to_str().unwrap()]).run().exited(0);
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "half\n");
    // Nothing that it had started goes on.
    assert_eq!(home.exec(&id, "pgrep -c sleep || true").run().ok(), "0");
    assert_eq!(home.ebb(["logs", "--follow", &id]).run().ok(), "said");
    let listed = home.ebb(["list"]).run().ok();
    assert!(
        listed.contains("completed (3)") && listed.contains("its main command failed with 3"),
        "{listed}"
    );
    let why = home.ebb(["why", &id]).run().ok();
    assert!(why.contains("its exit code is 3. Its files are kept: ebb exec"), "{why}");
    let _ = home.ebb(["receipt", &id]).run().exited(125);
    // Another daemon goes on with it, until the same moment.
    home.kill_daemon();
    home.kill_launcher();
    assert_eq!(home.exec(&id, "cat /tmp/result").run().ok(), "half");
    assert_eq!(home.get(&id)["ownership"]["until"], sandbox["ownership"]["until"]);
    eventually("its time is over", LIMIT, || (home.live() == 0).then_some(()));
    let ended = home.get(&id);
    assert_eq!((&ended["end"]["reason"], &ended["exit_code"]), (&"main_exited".into(), &3.into()), "{ended}");
    assert!(ended["end"]["message"].as_str().unwrap().contains("keep_expired"), "{ended}");
    assert_eq!(ended["end"]["receipt"]["left"], serde_json::json!([]), "{ended}");
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn without_daemon_and_launcher_what_is_kept_of_a_failure_ends_by_itself() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\ndaemon_grace_seconds = 1\n");
    let id = home.create(&failing("on_failure", "3"));
    kept(&home, &id);
    // One that fails when nobody is there who could keep it.
    let script = ["--keep", "on_failure", "--keep-for", "3", "--", "sh", "-c", "sleep 1; exit 4"];
    let later = home.create(&script);
    let inits = [home.init_of(&id), home.init_of(&later)];
    home.kill_daemon();
    home.kill_launcher();
    eventually("both have ended", LIMIT, || (!inits.iter().any(|init| alive(*init))).then_some(()));
    let ended = home.get(&later);
    assert_eq!((&ended["end"]["reason"], &ended["exit_code"]), (&"main_exited".into(), &4.into()), "{ended}");
    let ended = home.get(&id);
    assert_eq!((&ended["end"]["reason"], &ended["exit_code"]), (&"main_exited".into(), &3.into()), "{ended}");
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn a_run_that_fails_says_what_it_has_kept_and_how_to_look_at_it() {
    let machine = Machine::take();
    let home = machine.home();
    let script = "echo half > /tmp/result; exit 5";
    let run = |keep_as: &'static str| {
        home.ebb(["run", "--keep-for", "60", "--keep-as", keep_as, "--", "sh", "-c", script])
            .env("EBBTIDE_KEEP_SANDBOX", "on_failure")
            .run()
            .exited(5)
            .error()
    };
    let said = run("files");
    let id = home.ebb(["list", "--json"]).run().json()["sandboxes"][0]["id"].as_str().unwrap().to_owned();
    for words in [
        &format!("ebb: sandbox {id} is kept until "),
        "what it was made for has failed (keep = on_failure)",
        &format!("try: ebb exec {id} -- sh"),
        &format!("ebb cp {id}:/path ."),
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert_eq!(home.exec(&id, "cat /tmp/result").run().ok(), "half");
    let said = run("paused");
    assert!(said.contains("is kept paused until ") && said.contains("try: ebb resume "), "{said}");
    let _ = home.ebb(["run", "--keep", "on_failure", "--", "true"]).run().exited(0);
    assert_eq!(home.live(), 2);
    let _ = home.ebb(["purge", "--all", "--yes"]).run().exited(0);
    assert_eq!(home.live(), 0);
}

#[tokio::test]
async fn a_program_hears_of_a_failed_main_command_at_once_and_can_read_its_files() {
    let machine = Machine::take();
    let home = machine.home();
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    let defaults = SandboxDefaults { keep: Some(Keep::OnFailure), ..Default::default() };
    let session = Session::on(Connection::to(Target::Home(location), options), defaults);
    let job = session.builder().command("sh").args(["-c", FAILS]).build().unwrap();
    let info = job.wait_until_complete(LIMIT).await.unwrap();
    assert_eq!((info.state, info.exit_code), (SandboxState::Completed, Some(3)));
    assert!(info.files_until.is_some() && !info.is_gone(), "{info:?}");
    session.close().await.unwrap();
    assert_eq!(job.read_file("/tmp/result").await.unwrap(), b"half\n");
    assert_eq!(job.exec(["cat", "/tmp/result"]).output().await.unwrap().stdout_text(), "half\n");
    let described = job.describe().await.unwrap();
    assert_eq!(described.main_end.unwrap().exit_code, 3);
    job.stop_with(StopOptions::default().grace(Duration::from_secs(1))).await.unwrap();
    let info = job.info().unwrap();
    assert!(info.is_gone() && info.exit_code == Some(3), "{info:?}");
    assert!(job.receipt().await.unwrap().left.is_empty());
    assert!(job.read_file("/tmp/result").await.is_err());
    assert_eq!(home.live(), 0);
}
