//! No process can be made any more.

use ebbtide_tests::{Machine, eventually};

use super::bound::Bound;
use super::{LIMIT, settled, works};

#[test]
fn without_processes_a_create_fails_and_what_is_there_goes_on() {
    let machine = Machine::take();
    let home = machine.home();
    let bound = Bound::new("pids");
    let old = home.create(&[]);
    let doomed = home.create(&[]);
    bound.take(home.daemon().unwrap());
    bound.take(home.processes("ebb-launcher")[0]);
    bound.allow_processes(0);
    // Those that were made ahead go first.
    let mut made = Vec::new();
    let refused = eventually("no more can be made", LIMIT, || {
        let output = home.ebb(["create", "--json"]).run();
        if output.code() == 0 {
            made.push(output.json()["id"].as_str().unwrap().to_owned());
            return None;
        }
        Some(output.exited(125).error())
    });
    assert!(refused.contains("no room") && refused.contains("temporarily unavailable"), "{refused}");
    works(&home, &old);
    let _ = home.ebb(["stop", "--grace", "0", &doomed]).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
    bound.lift_processes();
    made.push(home.create(&[]));
    made.iter().chain([&old]).for_each(|id| works(&home, id));
    settled(&home, made.iter().chain([&old, &doomed]));
    home.shutdown();
}
