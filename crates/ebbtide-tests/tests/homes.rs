//! Two homes on one machine know nothing of each other.

use std::time::Duration;

use ebbtide_tests::{Machine, TestHome, eventually, scale};

fn running(home: &TestHome) -> usize {
    let list = home.ebb(["list", "--state", "running", "--json"]).run().json();
    list["sandboxes"].as_array().map_or(0, Vec::len)
}

fn fill(home: &TestHome, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..count.div_ceil(4)).for_each(|_| drop(home.create(&["--lifetime", "3600"]))));
        }
    });
}

#[test]
fn kill_reconcile_purge_and_shutdown_of_one_leave_the_other_untouched() {
    let machine = Machine::take();
    let (one, other) = (machine.home(), machine.home());
    // A quarter of the scale test's number each, a multiple of four.
    let count = scale("EBBTIDE_TEST_SCALE", 200).div_ceil(16) * 4;
    fill(&one, count);
    fill(&other, count);
    assert_ne!(one.id(), other.id());

    one.kill_daemon();
    one.kill_launcher();
    assert_eq!(running(&other), count);
    assert_eq!(running(&one), count, "not all were adopted again");

    let _ = one.ebb(["purge", "--all", "--yes"]).limit(Duration::from_secs(120)).run().exited(0);
    assert_eq!(running(&one), 0);
    assert_eq!(running(&other), count);
    let _ = other.ebb(["doctor"]).run().exited(0);

    one.shutdown();
    assert!(one.processes("ebb-init").is_empty() && one.processes("ebb-launcher").is_empty());
    assert_eq!(running(&other), count);
    let list = other.ebb(["list", "--json"]).run().json();
    let id = list["sandboxes"][0]["id"].as_str().expect("an id");
    assert_eq!(other.exec(id, "echo alive").run().ok(), "alive");
    let _ = other.ebb(["purge", "--all", "--yes"]).limit(Duration::from_secs(120)).run().exited(0);
    eventually("the other is empty", Duration::from_secs(30), || (running(&other) == 0).then_some(()));
}
