//! What comes, and that it comes once.

use std::fs;

use crate::images::{Layout, Packing, native, noise};
use crate::world::{World, assert_says, entries};

#[test]
fn an_image_comes_by_tag_or_digest_and_what_is_here_is_not_fetched_again() {
    let world = World::new();
    let layout = Layout::of(&[
        ("etc/plain", b"plain".to_vec(), Packing::Plain),
        ("etc/gzip", b"gzip".to_vec(), Packing::Gzip),
        ("etc/zstd", b"zstd".to_vec(), Packing::Zstd),
    ]);
    let name = world.push(&layout, "team/app:1");
    let pulled = world.pull(&name).run().json();
    assert_eq!(pulled["name"], name.as_str());
    assert_eq!(pulled["digest"], layout.digest());
    assert_eq!(pulled["layers"], 3);
    assert_eq!(pulled["platform"], format!("linux/{}", native()));
    for file in ["plain", "gzip", "zstd"] {
        let found = entries(&world.images().join("layers")).into_iter().any(|layer| {
            fs::read(world.images().join("layers").join(layer).join("etc").join(file))
                .is_ok_and(|content| content == file.as_bytes())
        });
        assert!(found, "etc/{file} is not unpacked");
    }
    assert!(entries(&world.images().join("tmp")).is_empty());

    world.proxy.forget();
    assert_eq!(world.pull(&name).run().json(), pulled);
    assert_eq!(world.proxy.seen("/blobs/").len(), 0, "blobs that are here were fetched again");
    let pinned = format!("{}@{}", world.name("team/app"), layout.digest());
    assert_eq!(world.pull(&pinned).run().json()["digest"], layout.digest());
    assert_eq!(world.proxy.seen("/blobs/").len(), 0, "blobs that are here were fetched again");

    let words = world.home.ebb(["image", "pull", &name]).run().ok();
    assert_eq!(words, format!("{name} {}", layout.digest()));
}

#[test]
fn a_tag_that_moves_is_followed_and_only_new_layers_come() {
    let world = World::new();
    let base = ("base", noise(1000), Packing::Gzip);
    let name = world.push(&Layout::of(std::slice::from_ref(&base)), "app:latest");
    let first = world.pull(&name).run().json();
    let second = Layout::of(&[base, ("more", noise(1000), Packing::Gzip)]);
    world.push(&second, "app:latest");
    world.proxy.forget();
    let pulled = world.pull(&name).run().json();
    assert_eq!(pulled["digest"], second.digest());
    assert_ne!(pulled["digest"], first["digest"]);
    assert_eq!(world.proxy.seen("/blobs/").len(), 2, "the new configuration and the new layer");
}

#[test]
fn an_image_in_dockers_own_format_comes_as_well() {
    let world = World::new();
    let layout = Layout::of(&[("file", b"content".to_vec(), Packing::Gzip)]);
    layout.push(&world.registry.address, "app:docker", &["--format", "v2s2"]);
    let pulled = world.pull(&world.name("app:docker")).run().json();
    assert_eq!(pulled["layers"], 1);
    assert_ne!(pulled["digest"], layout.digest(), "the manifest was to be another");
}

#[test]
fn of_an_image_for_many_machines_the_one_for_this_comes_or_the_one_that_is_asked_for() {
    let world = World::new();
    let mut layout = Layout::empty();
    let layer = |text: &str| [("file", text.as_bytes().to_vec(), Packing::Gzip)];
    layout.add(("windows", native(), None), &layer("windows"));
    layout.add(("linux", "s390x", None), &layer("s390x"));
    let v6 = layout.add(("linux", "arm", Some("v6")), &layer("v6"));
    let v7 = layout.add(("linux", "arm", Some("v7")), &layer("v7"));
    let here = layout.add(("linux", native(), None), &layer("here"));
    let index = layout.indexed();
    let name = world.push(&layout, "app:many");
    assert_eq!(world.pull(&name).run().json()["digest"], here);
    let pinned = format!("{}@{index}", world.name("app"));
    assert_eq!(world.pull(&pinned).run().json()["digest"], here);
    for (platform, digest) in [("linux/arm/v6", &v6), ("linux/arm", &v7), ("linux/arm/v8", &v7)] {
        let pull = world.home.ebb(["image", "pull", "--json", "--platform", platform, &name]);
        assert_eq!(pull.run().json()["digest"], digest.as_str(), "{platform}");
    }
    let missing = world.home.ebb(["image", "pull", "--platform", "linux/riscv64", &name]).run().exited(125);
    assert_says(
        &missing.error(),
        &["linux/riscv64", "linux/arm/v6", "linux/s390x", "windows/", "--platform"],
    );
    let _ = world.home.ebb(["image", "pull", "--platform", "beos", &name]).run().exited(2);
}

#[test]
fn an_image_for_another_machine_is_refused_though_there_is_no_index() {
    let world = World::new();
    let mut layout = Layout::empty();
    layout.add(("linux", "s390x", None), &[("file", b"x".to_vec(), Packing::Gzip)]);
    let name = world.push(&layout, "app:s390x");
    assert_says(&world.refused(&name), &["linux/s390x", native()]);
}
