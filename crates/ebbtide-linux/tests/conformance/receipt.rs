//! What a receipt says, against what the kernel has shown of the sandbox before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ebbtide_driver::{DestroyOutcome, Driver, Receipt};
use ebbtide_model::{MountedFile, SandboxId};

use crate::home::Linux;
use crate::pause::sleeping;
use crate::users::{Test, create, driver, output, tests};

pub(crate) const TESTS: &[Test] = tests![
    a_receipt_counts_what_there_was,
    a_receipt_of_one_that_has_ended_by_itself_counts_as_well,
    an_untouched_disk_gives_no_bytes_back,
];

async fn receipt(driver: &Arc<dyn Driver>, id: &SandboxId) -> Receipt {
    match driver.destroy(id).await.unwrap() {
        DestroyOutcome::Destroyed { receipt, .. } => receipt,
        DestroyOutcome::AlreadyGone => panic!("{id} was gone"),
    }
}

/// What the kernel shows of a running sandbox.
fn seen(linux: &Linux, id: &SandboxId) -> BTreeMap<String, u32> {
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count() as u32;
    let (cgroup, init) = (linux.cgroup(id), Path::new("/proc").join(linux.init_pid(id).to_string()));
    let slot = cgroup.file_name().unwrap();
    let below = |path: &Path| {
        fs::read_dir(path).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let cgroups = hierarchies
        .chain(["/sys/fs/cgroup".into()])
        .map(|hierarchy| hierarchy.join("ebbtide").join(&linux.config.home_id).join(slot))
        .filter(|path| path.is_dir() && !fs::symlink_metadata(path).unwrap().is_symlink())
        .map(|path| 1 + below(&path))
        .sum::<usize>();
    let own = |name: &str| {
        fs::read_link(init.join("ns").join(name)).unwrap()
            != fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap()
    };
    let namespaces = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"];
    BTreeMap::from([
        ("processes".to_owned(), 1 + lines(&cgroup.join("payload/cgroup.procs"))),
        ("mounts".to_owned(), lines(&init.join("mountinfo"))),
        ("namespaces".to_owned(), namespaces.into_iter().filter(|name| own(name)).count() as u32),
        ("cgroups".to_owned(), cgroups as u32),
        ("user_ids".to_owned(), lines_of_ids(&init)),
        ("disks".to_owned(), 1),
        ("directories".to_owned(), 1),
    ])
}

fn lines_of_ids(init: &Path) -> u32 {
    fs::read_to_string(init.join("uid_map")).unwrap().split_whitespace().nth(2).unwrap().parse().unwrap()
}

fn check(receipt: &Receipt, expected: BTreeMap<String, u32>, steps: &[&str]) {
    assert_eq!(receipt.released.iter().cloned().collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(receipt.steps.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), steps);
    assert_eq!(receipt.left, []);
}

async fn a_receipt_counts_what_there_was(linux: &Linux) {
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    plan.files = vec![MountedFile::new("/opt/file", b"content".to_vec())];
    create(&driver, &plan).await;
    let script = "head -c 8388608 /dev/urandom > /root/file; sync; sleep 300 > /dev/null 2>&1 & \
                  head -c 4194304 /dev/urandom > /root/more; wait $(jobs -p | tail -n 1) & sleep 0.5";
    output(&driver, &plan.id, script).await;
    let expected = seen(linux, &plan.id);
    assert!(expected["processes"] >= 3, "{expected:?}");
    let receipt = receipt(&driver, &plan.id).await;
    check(&receipt, expected, &["processes", "cgroups", "disk", "directory"]);
    assert!((12 << 20..14 << 20).contains(&receipt.bytes), "{} bytes", receipt.bytes);
    assert!(receipt.steps.iter().map(|(_, took)| *took).sum::<std::time::Duration>() <= receipt.took * 2);
}

async fn a_receipt_of_one_that_has_ended_by_itself_counts_as_well(linux: &Linux) {
    let (driver, mut plan) = (driver(linux).await, sleeping(linux));
    let script = "sleep 300 & until test -e /tmp/go; do sleep 0.05; done";
    plan.main.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    create(&driver, &plan).await;
    let mut expected = seen(linux, &plan.id);
    output(&driver, &plan.id, ": > /tmp/go").await;
    driver.ended(&plan.id).await.unwrap();
    // Init, and what was left in the background.
    expected.insert("processes".to_owned(), 2);
    let receipt = receipt(&driver, &plan.id).await;
    check(&receipt, expected, &["cgroups", "disk", "user_ids", "directory"]);
}

async fn an_untouched_disk_gives_no_bytes_back(linux: &Linux) {
    let (driver, plan) = (driver(linux).await, sleeping(linux));
    create(&driver, &plan).await;
    assert_eq!(output(&driver, &plan.id, "echo printed").await, "printed\n");
    assert_eq!(receipt(&driver, &plan.id).await.bytes, 0);
}
