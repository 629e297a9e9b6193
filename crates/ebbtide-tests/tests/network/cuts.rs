//! Networks that come back.

use std::time::Duration;

use ebbtide_tests::proxy::Break;
use ebbtide_tests::{Lost, Machine, Proxy, eventually, scale};

use crate::LIMIT;
use crate::program::LINES;
use crate::world::World;

#[test]
fn a_network_that_loses_everything_for_a_while_harms_nobody_whichever_way_it_loses() {
    let machine = Machine::take();
    let home = machine.home();
    let away = Duration::from_secs(scale("EBBTIDE_TEST_CUT_SECONDS", 4) as u64);
    // What is sent again is sent ever more seldom: twice as long as the network was away, at most.
    let limit = LIMIT + away * 2;
    let world = World::start(&home, 3);
    let ways = [Lost::ToDaemon, Lost::ToOwner, Lost::Everything];
    let mut owners: Vec<_> = (0..ways.len()).map(|owner| world.owner(owner, &[])).collect();
    let before: Vec<_> = owners.iter().map(|owner| world.get(&owner.id)["ownership"].clone()).collect();
    for owner in &mut owners {
        owner.order("stream");
        assert_eq!(owner.answer("stream", LIMIT), "begun");
    }
    for (owner, lost) in ways.into_iter().enumerate() {
        world.network.lose(owner, lost);
    }
    std::thread::sleep(away);
    for owner in 0..owners.len() {
        world.network.heal(owner);
    }
    for (n, owner) in owners.iter_mut().enumerate() {
        // Not a line is lost, and its owner was never missed.
        assert_eq!(owner.answer("stream", limit), format!("{LINES} lines"), "{:?}", ways[n]);
        assert_eq!(owner.does("exec"), "alive");
        assert_eq!(world.get(&owner.id)["ownership"], before[n], "{:?}", ways[n]);
        assert_eq!(before[n]["kind"], "owned");
    }
    assert_eq!(world.connections("198.18.").len(), owners.len());
    world.end();
}

#[test]
fn what_is_on_its_way_when_a_connection_is_cut_fails_by_name_and_a_create_that_is_repeated_makes_one() {
    let machine = Machine::take();
    let home = machine.home();
    let world = World::start(&home, 0);
    let place = world.network.daemon();
    let proxy = place.run(|| Proxy::to(format!("127.0.0.1:{}", world.port)));
    let mut program = world.program(place, &format!("http://{}", proxy.address), &[]);
    program.order("stream");
    assert_eq!(program.answer("stream", LIMIT), "begun");
    // The daemon makes a second one; the program does not hear of it.
    proxy.lose_answers();
    program.order("create");
    let second = eventually("the daemon has been asked", LIMIT, || {
        world.live().into_iter().find(|id| *id != program.id)
    });
    proxy.cut(Break::Reset);
    assert_eq!(program.answer("stream", LIMIT), "Unavailable");
    assert_eq!(world.becomes(&program.id, "orphaned")["ownership"]["reason"], "connection_lost");
    assert_eq!(program.answer("create", LIMIT), "Daemon");
    proxy.heal();
    assert_eq!(program.does("create"), second);
    assert_eq!(world.live().len(), 2, "{:?}", world.live());
    // It has come back by itself, with what proves that both are its own.
    for id in [&program.id, &second] {
        world.becomes(id, "owned");
    }
    assert_eq!(program.does("exec"), "alive");
    assert_eq!(program.does("describe"), "owned true");
    world.end();
}
