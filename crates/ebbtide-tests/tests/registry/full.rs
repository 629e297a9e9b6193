//! The disk of the home becomes full while an image is pulled.

use crate::images::{Layout, Packing, noise};
use crate::world::{World, assert_says, entries, message};

const MIB: u64 = 1 << 20;

#[test]
fn a_pull_that_the_disk_has_no_room_for_says_so_and_works_once_there_is() {
    let world = World::on_disk(700 * MIB);
    let layout = Layout::of(&[
        ("small", b"small".to_vec(), Packing::Gzip),
        ("large", noise(8 * MIB as usize), Packing::Plain),
    ]);
    let image = world.push(&layout, "team/app:1");
    let disk = world.home.disk().unwrap();
    assert_says(&world.refused(&image), &["team/app:1", "no room", "1073741824 have to stay", "gc"]);
    world.home.configure("[defaults]\ndisk = \"64Mi\"\n[images.limits]\nmin_free_bytes = \"0\"\n");
    world.home.shutdown();
    let stays = world.home.create(&[]);
    // As it comes, and when it is unpacked; for who asks for it, and for who wants a sandbox of it.
    let pull = ["image", "pull", "--json", &image];
    let run = ["run", "--json", "--image", &image, "/small"];
    for (words, left) in [(&pull[..], 7), (&pull, 14), (&run, 14)] {
        let full = disk.fill_but(left * MIB);
        let refused = message(&world.home.ebb(words.iter().copied()).run().exited(125));
        assert_says(&refused, &["team/app:1", "room", "images/tmp", "ebb image gc"]);
        world.assert_nothing_half_made();
        // What has come whole is not fetched again, unless its space is wanted.
        let _ = world.home.ebb(["image", "gc"]).run().exited(0);
        assert!(entries(&world.images().join("blobs/sha256")).is_empty());
        assert_eq!(world.home.exec(&stays, "echo alive").run().ok(), "alive");
        drop(full);
    }
    assert_eq!(world.pull(&image).run().json()["digest"], layout.digest());
    let _ = world.home.ebb(["doctor"]).run().exited(0);
}
