//! Networks that do not come back in time, and owners that do not come back at all.

use ebbtide_tests::{Lost, Machine, Proxy};

use crate::world::World;

/// What shows a daemon that its owner is there. After three that do not come it is missed.
const HEARTBEAT: (&str, &str) = ("EBBTIDE_LEASE_HEARTBEAT", "5");

#[test]
fn an_owner_that_is_missed_finds_what_its_policies_have_left_and_one_that_is_gone_for_good_leaves_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let world = World::start(&home, 4);
    let grace = |seconds| ("TEST_ORPHAN_GRACE", seconds);
    let mut dead = world.owner(0, &[HEARTBEAT, grace("3")]);
    let mut back_in_time = world.owner(1, &[HEARTBEAT]);
    let mut back_late = world.owner(2, &[HEARTBEAT, grace("1")]);
    let mut back_to_what_was_kept = world.owner(3, &[HEARTBEAT, grace("1"), ("TEST_KEEP", "always")]);
    // A proxy that ends the connections of its clients, and tells nobody behind it that one has gone.
    let place = world.network.daemon();
    let proxy = place.run(|| Proxy::to(format!("127.0.0.1:{}", world.port)));
    proxy.keep_open();
    let mut behind = world.program(place, &format!("http://{}", proxy.address), &[HEARTBEAT, grace("3")]);
    let before = world.get(&back_in_time.id)["ownership"].clone();

    for owner in 0..4 {
        world.network.lose(owner, Lost::Everything);
    }
    // What its kernel says of its end is lost, too.
    dead.kill();
    behind.kill();
    let missed = world.becomes(&back_in_time.id, "orphaned");
    assert_eq!(missed["ownership"]["reason"], "connection_lost", "{missed}");
    world.network.heal(1);
    let again = world.becomes(&back_in_time.id, "owned");
    assert_eq!(again["ownership"]["holder"], before["holder"], "{again}");
    assert_ne!(again["ownership"]["since"], before["since"], "{again}");
    assert_eq!(back_in_time.does("exec"), "alive");

    for id in [&dead.id, &behind.id, &back_late.id] {
        world.ends(id, "owner_gone");
    }
    world.becomes(&back_to_what_was_kept.id, "kept");
    world.network.heal(2);
    world.network.heal(3);
    assert_eq!(back_late.does("exec"), "NotRunning");
    assert!(back_late.does("describe").ends_with("owner_gone"));
    // Kept ones are nobody's until somebody takes them, also of who had them.
    assert_eq!(back_to_what_was_kept.does("exec"), "Paused");
    assert_eq!(back_to_what_was_kept.does("describe"), "kept true");
    assert_eq!(back_to_what_was_kept.does("adopt"), "owned");
    assert_eq!(back_to_what_was_kept.does("resume"), "running");
    assert_eq!(back_to_what_was_kept.does("exec"), "alive");
    world.end();
}
