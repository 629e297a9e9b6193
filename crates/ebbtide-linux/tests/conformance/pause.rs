//! Pauses and dead man's switches when more than the daemon dies, and what code inside can do about them: nothing.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ebbtide_driver::conformance::Harness;
use ebbtide_driver::{DeadMansSwitch, Driver, EndCause, Phase, RootImage, SandboxPlan};
use ebbtide_model::{Command, OwnerProcess, SandboxId};

use crate::home::Linux;
use crate::users::{Test, create, destroy, driver, output, plan, tests};

pub(crate) const TESTS: &[Test] = tests![
    a_pause_outlives_the_launcher,
    an_owners_death_ends_a_paused_sandbox_with_daemon_and_launcher_dead,
    a_daemon_that_is_gone_ends_its_sandboxes_with_the_launcher_dead,
    a_daemon_that_says_again_that_it_is_there_replaces_nobody_who_was_named_since,
    the_kernel_says_that_the_payload_is_frozen_and_init_is_not,
    a_slot_that_was_frozen_serves_the_next_sandbox,
    a_stopped_process_can_be_paused,
    code_inside_reaches_neither_its_freezer_nor_its_init,
];

const GRACE: Duration = Duration::from_millis(500);

/// A sandbox of the host's programs that sleeps.
pub(crate) fn sleeping(linux: &Linux) -> SandboxPlan {
    let argv = ["sleep", "300"].map(str::to_owned).to_vec();
    let image = linux.images.image("any", &[]);
    SandboxPlan { image: RootImage::Host, main: Command { argv, ..Command::default() }, ..plan(&image) }
}

async fn phase(driver: &dyn Driver, id: &SandboxId) -> Phase {
    driver.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == *id).unwrap().phase
}

/// Waits until nothing of the sandbox runs, asking the kernel alone.
async fn wait_until_empty(linux: &Linux, id: &SandboxId) {
    let events = linux.cgroup(id).join("cgroup.events");
    let empty = async {
        while fs::read_to_string(&events).is_ok_and(|events| events.contains("populated 1")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), empty).await.unwrap();
}

async fn a_pause_outlives_the_launcher(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    create(&driver, &plan).await;
    driver.pause(&plan.id).await.unwrap();
    drop(driver);
    linux.kill_launcher();
    let driver = linux.reconnect().await.unwrap();
    assert_eq!(phase(&*driver, &plan.id).await, Phase::Paused);
    driver.resume(&plan.id).await.unwrap();
    assert_eq!(phase(&*driver, &plan.id).await, Phase::Running);
    assert_eq!(output(&driver, &plan.id, "echo there").await, "there\n");
    driver.pause(&plan.id).await.unwrap();
    destroy(&driver, &plan.id).await;
}

async fn an_owners_death_ends_a_paused_sandbox_with_daemon_and_launcher_dead(linux: &Linux) {
    let mut owner = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", owner.id())).unwrap();
    let start_time = stat.split(' ').nth(21).unwrap().parse().unwrap();
    let process = OwnerProcess { pid: owner.id(), start_time };
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    plan.switch = DeadMansSwitch::Process { process, grace: GRACE };
    create(&driver, &plan).await;
    driver.pause(&plan.id).await.unwrap();
    drop(driver);
    linux.kill_launcher();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until_empty(linux, &plan.id).await;
    let driver = linux.reconnect().await.unwrap();
    assert_eq!(driver.ended(&plan.id).await.unwrap().cause, EndCause::OwnerGone);
    destroy(&driver, &plan.id).await;
}

async fn a_daemon_that_is_gone_ends_its_sandboxes_with_the_launcher_dead(linux: &Linux) {
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    plan.switch = DeadMansSwitch::Daemon { grace: GRACE };
    create(&driver, &plan).await;
    drop(driver);
    linux.kill_launcher();
    wait_until_empty(linux, &plan.id).await;
    let driver = linux.reconnect().await.unwrap();
    assert_eq!(driver.ended(&plan.id).await.unwrap().cause, EndCause::DaemonGone);
    destroy(&driver, &plan.id).await;
}

async fn a_daemon_that_says_again_that_it_is_there_replaces_nobody_who_was_named_since(linux: &Linux) {
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    plan.switch = DeadMansSwitch::Daemon { grace: GRACE };
    create(&driver, &plan).await;
    // Nobody has told the first one, so it goes on saying so, every three seconds.
    let next = linux.reconnect().await.unwrap();
    next.guard(&plan.id, DeadMansSwitch::Off).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(driver);
    tokio::time::sleep(GRACE * 3).await;
    assert_eq!(phase(&*next, &plan.id).await, Phase::Running);
    destroy(&next, &plan.id).await;
}

async fn the_kernel_says_that_the_payload_is_frozen_and_init_is_not(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    create(&driver, &plan).await;
    let frozen = |leaf: &str| {
        fs::read_to_string(linux.cgroup(&plan.id).join(leaf).join("cgroup.events"))
            .unwrap()
            .contains("frozen 1")
    };
    for expected in [true, false, true] {
        if expected {
            driver.pause(&plan.id).await.unwrap();
        } else {
            driver.resume(&plan.id).await.unwrap();
            // The kernel lets them go one by one.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((frozen("payload"), frozen("init")), (expected, false));
    }
    destroy(&driver, &plan.id).await;
}

async fn a_slot_that_was_frozen_serves_the_next_sandbox(linux: &Linux) {
    // So that the next one gets what the one before has left.
    linux.slots_ahead.store(0, Ordering::SeqCst);
    let driver = driver(linux).await;
    let mut slots = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let plan = sleeping(linux);
        create(&driver, &plan).await;
        slots.insert(linux.cgroup(&plan.id));
        assert_eq!(output(&driver, &plan.id, "echo runs").await, "runs\n");
        driver.pause(&plan.id).await.unwrap();
        destroy(&driver, &plan.id).await;
    }
    assert!(slots.len() < 4, "no slot was used twice");
}

async fn a_stopped_process_can_be_paused(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    create(&driver, &plan).await;
    let script = "(kill -STOP $(sh -c 'echo $PPID'); sleep 300) > /dev/null 2>&1 & sleep 0.1; echo begun";
    assert_eq!(output(&driver, &plan.id, script).await, "begun\n");
    driver.pause(&plan.id).await.unwrap();
    driver.resume(&plan.id).await.unwrap();
    assert_eq!(output(&driver, &plan.id, "echo there").await, "there\n");
    destroy(&driver, &plan.id).await;
}

async fn code_inside_reaches_neither_its_freezer_nor_its_init(linux: &Linux) {
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    plan.lifetime = Duration::from_secs(3);
    create(&driver, &plan).await;
    let script = "kill -STOP 1; kill -KILL 1; \
                  mkdir /tmp/c; mount -t cgroup2 none /tmp/c 2> /dev/null; mount -t cgroup -o freezer none /tmp/c 2> /dev/null; \
                  find / -xdev -name 'cgroup.*' 2> /dev/null; find /sys -name 'cgroup.*' 2> /dev/null; ls /tmp/c; \
                  ls -l /proc/1/fd > /dev/null 2>&1 && echo init is open; \
                  ls -l /proc/$$/fd | grep -c -e cgroup -e freeze -e memory";
    assert_eq!(output(&driver, &plan.id, script).await, "0\n");
    // Init still counts.
    assert_eq!(driver.ended(&plan.id).await.unwrap().cause, EndCause::LifetimeExpired);
    destroy(&driver, &plan.id).await;
}
