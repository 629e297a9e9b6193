//! Many who ask for the same.

use std::time::Duration;

use futures::future::join_all;

use crate::images::{Layout, Packing, noise};
use crate::proxy::Damage;
use crate::world::{Local, World, assert_nothing_half_made, entries, name};

#[tokio::test]
async fn a_hundred_who_ask_for_the_same_image_cause_one_pull_and_each_sees_it() {
    let world = World::new();
    let layout = Layout::of(&[("a", noise(1 << 20), Packing::Gzip), ("b", noise(1 << 20), Packing::Gzip)]);
    let image = name(&world.push(&layout, "app:1"));
    world.proxy.damage("/blobs/", 99, Damage::Slow(256 << 10));
    let local = Local::new();
    let puller = local.puller();
    let pulls: Vec<_> = std::iter::repeat_with(|| puller.pull(&image, None)).take(100).collect();
    let mut progress: Vec<_> = pulls.iter().map(|pull| pull.progress()).collect();
    let seen = join_all(progress.iter_mut().map(|progress| async {
        progress.wait_for(|progress| progress.layers == 2).await.unwrap().to_string()
    }));
    let (seen, ended) = tokio::join!(seen, join_all(pulls.into_iter().map(|pull| pull.done())));
    assert!(
        seen.iter().all(|words| words.starts_with("pulling ") && words.contains("of 2 layers")),
        "{seen:?}"
    );
    for image in ended {
        assert_eq!(image.unwrap().digest.to_string(), layout.digest());
    }
    assert_eq!(world.proxy.seen("/manifests/").len(), 1);
    assert_eq!(world.proxy.seen("/blobs/").len(), 3, "a configuration and two layers");
    let last = progress[0].borrow().clone();
    assert_eq!((last.layers_done, last.bytes_done), (2, last.bytes));
}

#[tokio::test]
async fn a_pull_goes_on_while_one_waits_for_it_and_ends_when_nobody_does() {
    let world = World::new();
    let layout = Layout::of(&[("a", noise(1 << 20), Packing::Gzip)]);
    let image = name(&world.push(&layout, "app:1"));
    let layer = layout.layers()[0].clone();
    let local = Local::new();
    let puller = local.puller();
    let on_its_way = async || {
        while world.proxy.seen(&layer).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    world.proxy.damage(&layer, 1, Damage::Stall(1 << 19));
    let all: Vec<_> = std::iter::repeat_with(|| puller.pull(&image, None)).take(3).collect();
    tokio::time::timeout(Duration::from_secs(20), on_its_way()).await.unwrap();
    drop(all);
    tokio::time::timeout(Duration::from_secs(5), puller.settled())
        .await
        .expect("the pull goes on for nobody");
    assert_nothing_half_made(&local.images());

    world.proxy.forget();
    world.proxy.damage(&layer, 1, Damage::Slow(128 << 10));
    let (stays, leaves) = (puller.pull(&image, None), puller.pull(&image, None));
    tokio::time::timeout(Duration::from_secs(20), on_its_way()).await.unwrap();
    drop(leaves);
    assert_eq!(stays.done().await.unwrap().digest.to_string(), layout.digest());
}

#[tokio::test]
async fn a_pull_that_is_given_up_while_it_unpacks_ends_soon_and_leaves_nothing() {
    let world = World::new();
    // A quarter of a gibibyte of nothing is a small layer, and long to unpack.
    let archive = Layout::of_zeros(256 << 20);
    let image = name(&world.push(&archive, "app:1"));
    let local = Local::new();
    let puller = local.puller();
    let pull = puller.pull(&image, None);
    let unpacking = async || {
        while !entries(&local.images().join("tmp")).iter().any(|entry| entry.starts_with("layer-")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), unpacking()).await.unwrap();
    drop(pull);
    tokio::time::timeout(Duration::from_secs(3), puller.settled()).await.expect("it unpacks for nobody");
    assert_nothing_half_made(&local.images());
}

#[tokio::test]
async fn two_processes_that_pull_the_same_fetch_each_blob_once() {
    let world = World::new();
    let layout = Layout::of(&[("a", noise(1 << 20), Packing::Gzip)]);
    let image = world.push(&layout, "app:1");
    let layer = layout.layers()[0].clone();
    world.proxy.damage(&layer, 1, Damage::Slow(64 << 10));
    let pulls = [world.pull(&image).spawn(), world.pull(&image).spawn()];
    for pull in pulls {
        assert_eq!(pull.wait().json()["digest"], layout.digest());
    }
    assert_eq!(world.proxy.seen(&layer).len(), 1);
}
