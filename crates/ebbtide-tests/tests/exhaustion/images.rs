//! The disk of the home becomes full while an image comes.

use std::fs;

use ebbtide_tests::image::{Compression, Layer, Meta, TestImage};
use ebbtide_tests::{Ebb, Machine, TestHome, eventually};

use super::{LIMIT, home_on_disk, says, settled, works};

const MIB: u64 = 1 << 20;
/// What the one file of the image has, which nothing makes smaller.
const CONTENT: u64 = 8 * MIB;

fn layer() -> Layer {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(CONTENT as usize).collect();
    Layer::new().file("noise", Meta::new(0o644), noise)
}

/// Panics if there is an image, or anything of one.
#[track_caller]
fn assert_nothing_half_made(home: &TestHome) {
    for directory in ["tmp", "images", "names", "blobs/sha256"] {
        let entries = fs::read_dir(home.state_dir().join("images").join(directory)).into_iter().flatten();
        let left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[test]
fn an_image_that_the_disk_has_no_room_for_is_refused_and_comes_once_there_is() {
    let machine = Machine::take();
    let home = home_on_disk(&machine);
    let stays = home.create(&[]);
    let disk = home.disk().unwrap();
    let (layer, layout) = (layer(), home.directory().join("layout"));
    TestImage::new().layer(layer.clone(), Compression::None).write(&layout, "any");
    let from_tar = || home.ebb(["image", "load", "--from-tar", "-", "noise:1"]).stdin(layer.clone().tar());
    let from_layout = || home.ebb(["image", "load", layout.to_str().unwrap(), "noise:1"]);

    // What stays free is there for the ledger and everything that runs, so an image does not even begin.
    says(from_tar().run(), &["no room", "1073741824 have to stay", "ebb image gc"]);
    assert_nothing_half_made(&home);
    home.configure("[images.limits]\nmin_free_bytes = \"0\"\n");
    // Kept as it comes through the pipe, as what came, and unpacked: each of them meets the end of the disk.
    let cases: [(&dyn Fn() -> Ebb, u64); 7] = [
        (&from_tar, 0),
        (&from_tar, 4),
        (&from_tar, 12),
        (&from_tar, 20),
        (&from_layout, 0),
        (&from_layout, 4),
        (&from_layout, 12),
    ];
    for (load, left) in cases {
        let full = disk.fill_but(left * MIB);
        let before = disk.free();
        says(load().run(), &["images/tmp", "room", "ebb image gc"]);
        assert_nothing_half_made(&home);
        // The kernel may give space back a moment later.
        eventually("its space is free again", LIMIT, || (disk.free() + MIB / 2 >= before).then_some(()));
        works(&home, &stays);
        drop(full);
    }
    for load in [from_tar(), from_layout()] {
        let _ = load.run().exited(0);
        let shown = home.ebb(["image", "inspect", "--json", "noise:1"]).run().json();
        assert!(shown["bytes"].as_u64().unwrap() > CONTENT, "{shown}");
        let _ = home.ebb(["image", "rm", "noise:1"]).run().exited(0);
    }
    settled(&home, [&stays]);
}
