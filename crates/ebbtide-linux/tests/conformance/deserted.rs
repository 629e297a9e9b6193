//! Slots that nobody will ever want.

use std::fs;
use std::time::Duration;

use ebbtide_driver::conformance::Harness;

use crate::home::Linux;
use crate::pause::sleeping;
use crate::users::{Test, create, destroy, driver, output, tests};

pub(crate) const TESTS: &[Test] = tests![
    slots_that_nobody_has_go_after_their_launchers_death,
    a_create_is_resumed_whose_slot_has_gone_meanwhile,
];

async fn wait_for_processes(linux: &Linux, is_right: impl Fn(usize) -> bool) {
    let waiting = async {
        while !is_right(linux.processes().len()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

async fn slots_that_nobody_has_go_after_their_launchers_death(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    create(&driver, &plan).await;
    // The launcher, the sandbox's init, and one made ahead.
    wait_for_processes(linux, |count| count > 2).await;
    drop(driver);
    linux.kill_launcher();
    wait_for_processes(linux, |count| count == 1).await;
    let driver = linux.reconnect().await.unwrap();
    assert_eq!(output(&driver, &plan.id, "echo there").await, "there\n");
    destroy(&driver, &plan.id).await;
}

async fn a_create_is_resumed_whose_slot_has_gone_meanwhile(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    // As after a create that was cut off right after its claim.
    let slots = linux.config.run_dir.join("s");
    let ready = || {
        let entries = fs::read_dir(&slots).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.into_iter().find(|slot| slot.join("init.sock").exists() && slot.join("slot.json").exists())
    };
    wait_for_processes(linux, |count| count > 2 && ready().is_some()).await;
    drop(driver);
    linux.kill_launcher();
    fs::rename(ready().unwrap(), slots.join(plan.id.as_str())).unwrap();
    wait_for_processes(linux, |count| count == 0).await;
    let driver = linux.reconnect().await.unwrap();
    create(&driver, &plan).await;
    assert_eq!(output(&driver, &plan.id, "echo there").await, "there\n");
    destroy(&driver, &plan.id).await;
}
