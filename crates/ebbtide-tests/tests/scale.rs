//! Many sandboxes alive at once.

use std::sync::Mutex;
use std::time::Duration;

use ebbtide_tests::{Machine, scale};

/// How many clients there are at once.
const CLIENTS: usize = 8;

#[test]
fn two_hundred_sandboxes_live_at_once_each_runs_a_command_and_a_purge_ends_them() {
    let machine = Machine::take();
    let home = machine.home();
    let count = scale("EBBTIDE_TEST_SCALE", 200).div_ceil(CLIENTS) * CLIENTS;
    let ids = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..count / CLIENTS {
                    let id = home.create(&["--tag", "many"]);
                    ids.lock().unwrap().push(id);
                }
            });
        }
    });
    let ids = ids.into_inner().unwrap();
    assert_eq!(ids.len(), count);
    std::thread::scope(|scope| {
        for part in ids.chunks(count / CLIENTS) {
            let home = &home;
            scope.spawn(move || {
                for id in part {
                    assert_eq!(home.exec(id, "echo $((6 * 7))").run().ok(), "42");
                }
            });
        }
    });
    let _ = home.ebb(["doctor"]).run().exited(0);
    let purged =
        home.ebb(["purge", "--tag", "many", "--yes", "--json"]).limit(Duration::from_secs(180)).run().json();
    assert_eq!(purged["matched"].as_array().map(Vec::len), Some(count));
    assert_eq!(purged["failed"], serde_json::json!([]));
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}
