//! Connections whose other end is gone without a word.

use std::time::{Duration, Instant};

use ebbtide_tests::{Lost, Machine, eventually, scale};

use crate::LIMIT;
use crate::world::World;

#[test]
fn an_end_of_a_connection_that_is_gone_without_a_word_is_known_to_the_other_within_minutes() {
    let machine = Machine::take();
    let home = machine.home();
    let world = World::start(&home, 2);
    let patience = Duration::from_secs(scale("EBBTIDE_TEST_SILENCE_SECONDS", 0) as u64);
    let grace = ("TEST_ORPHAN_GRACE", "2");
    let (mut works, mut idles) = (world.owner(0, &[grace]), world.owner(1, &[grace]));
    // Who says nothing is asked by the kernel whether it is there.
    let asked = |line: &String| line.contains("timer:(keepalive,");
    let all_asked = || world.connections("198.18.").iter().all(asked);
    eventually("nothing is on its way", LIMIT, || all_asked().then_some(()));
    assert_eq!(world.connections("198.18.").len(), 2);
    works.order("stream");
    assert_eq!(works.answer("stream", LIMIT), "begun");
    if !patience.is_zero() {
        let began = Instant::now();
        for owner in 0..2 {
            world.network.lose(owner, Lost::Everything);
        }
        idles.kill();
        works.order("exec");
        for order in ["stream", "exec"] {
            assert_eq!(works.answer(order, patience), "Unavailable");
            eprintln!("{order} was given up after {:?}", began.elapsed());
        }
        for (owner, id) in [(0, &works.id), (1, &idles.id)] {
            let gone = || (world.get(id)["end"]["reason"] == "owner_gone").then_some(());
            eventually("its owner is missed", patience, gone);
            eprintln!("owner {owner} was missed after {:?}", began.elapsed());
        }
        assert!(world.connections("198.18.").is_empty(), "{:?}", world.connections(""));
    }
    world.end();
}
