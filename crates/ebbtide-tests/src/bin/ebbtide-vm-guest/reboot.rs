//! The machine is started anew, in good order, while sandboxes of every kind live.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_tests::kernel::Snapshot;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::cast::Cast;
use crate::holds;
use crate::home::{Home, text};

/// systemd waits half as long again for a process that ignores its SIGTERM.
const PROMPT: Duration = Duration::from_secs(60);

/// What the boot before this one has noted.
const NOTE: &str = "/state/reboot.json";

pub(crate) fn run() {
    match fs::read_to_string(NOTE) {
        Ok(note) => after(&serde_json::from_str(&note).expect("the note of the boot before")),
        Err(_) => before(),
    }
}

fn before() {
    let home = Home::at("reboot");
    let cast = Cast::new(&home);
    let failed = home.create(&["--detach", "--", "sh", "-c", "exit 7"]);
    let stopped = home.create(&["--detach"]);
    let _ = home.ebb(["stop", &stopped]).run().exited(0);
    home.until("it ends", &failed, |seen| seen["ended_at"].is_string());
    home.doctor();
    let ended: BTreeMap<&str, Value> = [&failed, &stopped].map(|id| (id.as_str(), end(&home.get(id)))).into();
    let mut note = File::create(NOTE).expect("make the note");
    let text = json!({ "lived": cast.ids, "ended": ended, "at": now().as_secs() }).to_string();
    note.write_all(text.as_bytes()).and_then(|()| note.sync_all()).expect("write the note");
    println!("fact {} sandboxes live, and the machine is started anew", cast.ids.len());
    assert!(Command::new("systemctl").arg("reboot").status().expect("call systemctl").success());
    // systemd ends this program with everything else.
    std::thread::sleep(Duration::from_secs(600));
    panic!("the machine was not started anew");
}

fn after(note: &Value) {
    let snapshot = Snapshot::take();
    let since_start = Duration::try_from(clock_gettime(ClockId::Boottime)).expect("a time since the start");
    let told = Duration::from_secs(note["at"].as_u64().expect("when the boot before was told to end"));
    let took = now().saturating_sub(since_start).saturating_sub(told);
    assert!(took < PROMPT, "it took {took:?} until the machine was off: something has not ended at SIGTERM");
    holds(&format!("the machine with all of them alive was off {} seconds later", took.as_secs()));
    let home = Home::at("reboot");
    home.wake();
    let list = home.list();
    let find = |id: &str| list.iter().find(|sandbox| sandbox["id"] == id);
    let lived = note["lived"].as_object().expect("who lived");
    for (name, id) in lived {
        let id = id.as_str().expect("an id");
        let sandbox = find(id).unwrap_or_else(|| panic!("{name}: {id} is not known after the start"));
        assert!(sandbox["ended_at"].is_string(), "{name}: {sandbox}");
        assert_eq!(text(sandbox, "reason").split(':').next(), Some("host_restarted"), "{name}: {sandbox}");
        let why = home.ebb(["why", id]).run().ok();
        assert!(why.contains("its machine was started anew"), "{name}: {why}");
    }
    holds(
        "the first command shows each with a tombstone that says host_restarted, and `ebb why` says so in words",
    );
    for (id, ended) in note["ended"].as_object().expect("who had ended") {
        assert_eq!(&end(&home.get(id)), ended, "{id}");
        let _ = home.ebb(["receipt", id]).run().exited(0);
    }
    holds("what had ended before has kept its end, its exit code and its receipt");
    home.doctor();
    let _ = home.ebb(["run", "--", "true"]).run().exited(0);
    home.shut_down(&snapshot);
    holds("doctor and the independent reader find nothing, and a new sandbox runs");
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970")
}

fn end(sandbox: &Value) -> Value {
    json!([sandbox["state"], sandbox["reason"], sandbox["exit_code"], sandbox["ended_at"]])
}
