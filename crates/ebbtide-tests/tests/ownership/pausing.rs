//! Sandboxes that are frozen.

use ebbtide_tests::Machine;

#[test]
fn what_is_paused_stands_still_until_it_is_resumed() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--", "sh", "-c", "while :; do date +%s%N >/tmp/now; sleep 0.05; done"]);
    assert_eq!(home.ebb(["pause", &id]).run().ok(), format!("{id} paused"));
    let _ = home.ebb(["pause", &id]).run().exited(0);
    assert_eq!(home.state(&id), "paused");
    let refused = home.exec(&id, "true").run().exited(125);
    assert!(refused.error().contains("ebb resume"), "{}", refused.error());
    let why = home.ebb(["why", &id]).run().ok();
    assert!(why.contains("is paused: nothing runs in it until it is resumed."), "{why}");
    assert_eq!(home.ebb(["resume", &id]).run().ok(), format!("{id} running"));
    let _ = home.ebb(["resume", &id]).run().exited(0);
    let first = home.exec(&id, "cat /tmp/now; sleep 0.3").run().ok();
    assert_ne!(home.exec(&id, "cat /tmp/now").run().ok(), first, "it stands still");
    // One that is paused can be stopped as any other.
    let _ = home.ebb(["pause", &id]).run().exited(0);
    let _ = home.ebb(["stop", "--grace", "1", &id]).run().exited(0);
    assert_eq!(home.get(&id)["end"]["reason"], "stopped");
}
