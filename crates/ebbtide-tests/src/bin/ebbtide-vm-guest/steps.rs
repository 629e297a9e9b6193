//! Daemons that stand still at each named step of a create and a stop, so that the power can be cut right there.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use ebbtide_tests::{Running, eventually};

use crate::LIMIT;
use crate::home::Home;

/// Below the directory of all homes.
const STEPS: &str = "steps";

/// On both sides of each effect that outlives the daemon. All steps are tried where a machine is faster, by daemons that die.
const POINTS: [&str; 10] = [
    "create.intent.after",
    "create.driver.before",
    "create.driver.after",
    "create.mark.before",
    "stop.ending.after",
    "stop.driver.after",
    "stop.destroy.before",
    "stop.destroy.after",
    "stop.tombstone.before",
    "stop.tombstone.after",
];

/// The homes whose daemons stood still when the power was cut.
pub(crate) fn homes() -> Vec<Home> {
    let entries = fs::read_dir(Path::new("/state").join(STEPS)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.iter().map(|name| Home::at(&format!("{STEPS}/{name}"))).collect()
}

/// Lets a daemon each come to one of the steps and stand still there; `step NAME` tells of each. What is returned are
/// callers who wait for an answer.
pub(crate) fn hold() -> Vec<Running> {
    POINTS.iter().flat_map(|point| hold_at(point)).collect()
}

fn hold_at(point: &str) -> [Running; 2] {
    let home = Home::at(&format!("{STEPS}/{point}")).with_fail_points();
    let mut make = fs::DirBuilder::new();
    make.recursive(true).mode(0o700).create(home.state_dir()).expect("make a home");
    // None made ahead: there are many homes, and each has one sandbox.
    fs::write(home.state_dir().join("ebbtide.toml"), "[runtime]\npool_slots = 0\n").expect("configure it");
    let serve = home
        .ebb(["serve", "--json"])
        .env("EBBTIDE_FAIL_POINT", point)
        .env("EBBTIDE_FAIL_POINT_SIGNAL", "STOP")
        .spawn();
    let daemon = serve.pid();
    serve.first_line(LIMIT);
    let main = ["--detach", "--", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.1; done"];
    let caller = if point.starts_with("create.") {
        home.ebb(["create"].into_iter().chain(main)).spawn()
    } else {
        let id = home.create(&main);
        println!("answered {id}");
        home.ebb(["stop", "--grace", "5", &id]).spawn()
    };
    eventually(point, LIMIT, || stands_still(daemon).then_some(()));
    println!("step {point}");
    [serve, caller]
}

fn stands_still(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
