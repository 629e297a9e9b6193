//! Damage on the way: each time the words help, nothing half-made stays, and a second try works.

use std::time::Duration;

use ebbtide_image::PullProblem;

use crate::images::{Layout, Packing, noise};
use crate::proxy::Damage;
use crate::world::{Local, World, assert_nothing_half_made, assert_says, name};

/// Incompressible, so that the layer is about as large.
const LARGE: usize = 3 << 20;

fn image() -> Layout {
    Layout::of(&[("small", b"small".to_vec(), Packing::Gzip), ("large", noise(LARGE), Packing::Gzip)])
}

/// An image in a registry, and the path of its large layer there.
struct Pushed {
    world: World,
    layout: Layout,
    image: String,
    large: String,
}

fn pushed(name: &str) -> Pushed {
    let world = World::new();
    let layout = image();
    let image = world.push(&layout, name);
    let large = layout.layers()[1].clone();
    Pushed { world, layout, image, large }
}

fn answer(status: u16, headers: Vec<(&'static str, String)>) -> Damage {
    Damage::Answer {
        status,
        headers,
        body: br#"{"errors": [{"code": "X", "message": "look\nhere"}]}"#.to_vec(),
    }
}

#[test]
fn whatever_is_damaged_on_the_way_is_said_so_and_a_second_try_works() {
    let Pushed { world, layout, image, large } = pushed("team/app:1");
    let large = large.as_str();
    let cases: [(&str, usize, Damage, &[&str]); 8] = [
        (
            large,
            99,
            Damage::Shorten(1 << 20),
            &["layer 2 of 2 is truncated", "1048576 of", "push the image again"],
        ),
        (large, 99, Damage::Corrupt, &["the content of layer 2 of 2 is not what its digest says"]),
        ("/manifests/", 99, answer(500, Vec::new()), &["500", "team/app:1", "lookhere", "registry's log"]),
        (large, 99, answer(503, Vec::new()), &["503", "layer 2 of 2"]),
        (
            "/manifests/",
            99,
            answer(429, vec![("retry-after", "77".to_owned())]),
            &["no more requests", "in 77 s", "log in"],
        ),
        (large, 99, answer(404, Vec::new()), &["layer 2 of 2 is missing", "push it again"]),
        (large, 99, answer(403, Vec::new()), &["wants credentials"]),
        (large, 99, Damage::Break(0), &["at layer 2 of 2 the connection broke 5 times in a row"]),
    ];
    for (path, times, damage, parts) in cases {
        world.proxy.damage(path, times, damage);
        let message = world.refused(&image);
        assert_says(&message, &[parts, &["team/app:1", &world.proxy.address]].concat());
        world.proxy.heal();
    }
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
}

#[test]
fn a_pinned_image_is_not_believed_to_be_another() {
    let world = World::new();
    let (wanted, other) = (image(), image());
    world.push(&wanted, "app:1");
    world.push(&other, "app:2");
    let pinned = format!("{}@{}", world.name("app"), wanted.digest());
    world.proxy.damage("/manifests/", 99, Damage::Corrupt);
    assert_says(&world.refused(&pinned), &["is not what its digest says", &wanted.digest()]);
    world.proxy.heal();
    assert_eq!(world.pull(&pinned).run().json()["digest"], wanted.digest());
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_was() {
    let Pushed { world, layout, image, large } = pushed("app:1");
    world.proxy.damage(&large, 3, Damage::Break(1 << 20));
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
    let ranges: Vec<_> = world.proxy.seen(&large).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges[0], None);
    assert!(ranges.len() >= 3, "{ranges:?}");
    for range in &ranges[1..] {
        let from =
            range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        assert!(from.is_some_and(|from: usize| from >= 1 << 19), "it began anew: {ranges:?}");
    }
}

#[test]
fn a_registry_that_cannot_begin_in_the_middle_is_read_from_the_beginning() {
    let Pushed { world, layout, image, large } = pushed("app:1");
    world.proxy.damage(&large, 1, Damage::Break(1 << 20));
    world.proxy.damage(&large, 99, Damage::IgnoreRange);
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
    assert_eq!(world.proxy.seen(&large).len(), 2);
}

#[test]
fn a_registry_that_goes_half_way_is_named_and_what_is_needed_comes_when_it_is_back() {
    let Pushed { mut world, layout, image, large } = pushed("app:1");
    world.proxy.damage(&large, 99, Damage::Slow(64 << 10));
    let pull = world.pull(&image).spawn();
    ebbtide_tests::eventually("the layer is on its way", Duration::from_secs(20), || {
        (!world.proxy.seen(&large).is_empty()).then_some(())
    });
    world.registry.stop();
    // What the proxy has already taken from the registry must not arrive either.
    world.proxy.heal();
    world.proxy.cut();
    let message = crate::world::message(&pull.wait().exited(125));
    world.assert_nothing_half_made();
    assert_says(&message, &["app:1", &world.proxy.address]);
    world.registry.resume();
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
}

#[test]
fn a_pull_goes_on_from_where_a_process_that_was_killed_had_come() {
    let Pushed { world, layout, image, large } = pushed("app:1");
    world.proxy.damage(&large, 1, Damage::Stall(2 << 20));
    let pull = world.pull(&image).spawn();
    let draft = |bytes: u64| {
        let tmp = world.images().join("tmp");
        let files = std::fs::read_dir(tmp).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|file| file.len() >= bytes)
    };
    ebbtide_tests::eventually("most of the layer is here", Duration::from_secs(20), || {
        draft(2 << 20).then_some(())
    });
    pull.signal(rustix::process::Signal::KILL);
    let _ = pull.wait();
    world.proxy.forget();
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
    let ranges: Vec<_> = world.proxy.seen(&large).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some(format!("bytes={}-", 2 << 20))], "it began anew");
}

#[test]
fn a_pull_that_is_interrupted_leaves_nothing() {
    let Pushed { world, layout, image, large } = pushed("app:1");
    world.proxy.damage(&large, 1, Damage::Stall(2 << 20));
    let pull = world.pull(&image).spawn();
    ebbtide_tests::eventually("the layer is on its way", Duration::from_secs(20), || {
        (!world.proxy.seen(&large).is_empty()).then_some(())
    });
    pull.signal(rustix::process::Signal::INT);
    let _ = pull.wait().exited(130);
    world.assert_nothing_half_made();
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
}

#[tokio::test]
async fn a_registry_that_falls_silent_or_trickles_does_not_hold_a_pull_for_ever() {
    let Pushed { world, image, large, .. } = pushed("app:1");
    let image = name(&image);
    let mut local = Local::new();
    local.config.stall = Duration::from_millis(500);
    world.proxy.damage(&large, 99, Damage::Stall(0));
    let silent = local.puller().pull(&image, None).done().await.unwrap_err();
    assert!(matches!(*silent.problem, PullProblem::Broken { .. }), "{silent}");
    assert_says(&silent.to_string(), &["layer 2 of 2", "did not answer in time"]);
    assert_nothing_half_made(&local.images());
    // It goes on, after a silence, on another connection.
    world.proxy.heal();
    world.proxy.damage(&large, 2, Damage::Stall(1 << 20));
    assert!(local.puller().pull(&image, None).done().await.is_ok());

    let mut local = Local::new();
    local.config.timeout = Duration::from_secs(1);
    world.proxy.damage(&large, 99, Damage::Slow(1 << 10));
    let slow = local.puller().pull(&image, None).done().await.unwrap_err();
    assert!(matches!(*slow.problem, PullProblem::TooSlow { .. }), "{slow}");
    assert_nothing_half_made(&local.images());
}
