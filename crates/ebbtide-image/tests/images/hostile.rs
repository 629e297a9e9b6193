//! What a hostile layer does not become. [`Tree`] looks after each that nothing beside the layer has changed.

use ebbtide_image::ImageError;
use tar::EntryType;

use crate::tarball::{Tarball, header};
use crate::tree::Tree;

fn refused(layer: Tarball) {
    let tree = Tree::of(&layer.end());
    assert!(
        matches!(tree.result, Err(ImageError::Refused { .. } | ImageError::Entry { .. })),
        "{:?}",
        tree.result
    );
}

#[test]
fn a_name_with_two_dots_is_refused() {
    for name in ["../x", "a/../../x", "a/../x", "..", "/../x", "./..", "a/..", "../canary/secret"] {
        refused(Tarball::new().file(name, b"owned"));
        refused(Tarball::new().directory(name));
        refused(Tarball::new().symlink(name, "x"));
        refused(Tarball::new().file("x", b"").hard_link("y", name));
        refused(Tarball::new().pax(&[("path", name.as_bytes())]).file("harmless", b"owned"));
        let long = [name.as_bytes(), b"\0"].concat();
        let size = long.len() as u64;
        refused(
            Tarball::new()
                .entry(&header(EntryType::GNULongName, b"././@LongLink", b"", size), &long)
                .file("harmless", b"owned"),
        );
    }
}

#[test]
fn a_name_from_the_root_is_one_in_the_layer() {
    let tree = Tree::good(&Tarball::new().file("/etc/passwd", b"mine").file("//tmp//x", b"mine").end());
    assert_eq!((tree.text("etc/passwd"), tree.text("tmp/x")), ("mine".into(), "mine".into()));
}

#[test]
fn a_link_out_leads_to_the_layers_own_root_or_nowhere() {
    // `..` at the root is the root.
    for target in ["..", "../..", "/", "../../../..", "../layer/.."] {
        let tree = Tree::of(
            &Tarball::new().symlink("out", target).file("out/secret", b"owned").directory("out/canary").end(),
        );
        if tree.result.is_ok() {
            assert_eq!(tree.text("secret"), "owned", "{target}");
        }
    }
    for target in
        ["../canary", "/proc/self/root/tmp", "/proc/self/cwd", "../../../proc/self/fd/3", "loop", "/tmp"]
    {
        for inside in ["loop/secret", "loop/a/b"] {
            let layer = Tarball::new().symlink("loop", target).file(inside, b"owned");
            refused(layer.clone());
            refused(Tarball::new().symlink("loop", target).symlink(inside, "x"));
            refused(Tarball::new().symlink("loop", target).file("x", b"").hard_link(inside, "x"));
        }
    }
}

#[test]
fn a_file_through_a_link_of_its_own_name_replaces_the_link() {
    let tree = Tree::good(
        &Tarball::new()
            .symlink("a", "../canary/secret")
            .file("a", b"new")
            .symlink("b", "/etc/passwd")
            .entry(&header(EntryType::Fifo, b"b", b"", 0), b"")
            .symlink("c", "../canary")
            .directory("c")
            .file("c/secret", b"new")
            .end(),
    );
    assert_eq!((tree.text("a"), tree.text("c/secret")), ("new".into(), "new".into()));
}

#[test]
fn a_directory_that_becomes_a_link_leads_nobody_astray() {
    // Whoever had opened it by then must not go on with what it was.
    let tree = Tree::of(
        &Tarball::new()
            .directory("d")
            .file("d/before", b"x")
            .symlink("d", "../canary")
            .file("d/secret", b"owned")
            .end(),
    );
    assert!(tree.result.is_err());
    let tree = Tree::good(
        &Tarball::new().file("d/before", b"x").directory("e").symlink("d", "e").file("d/after", b"x").end(),
    );
    assert!(tree.is_there("e/after") && !tree.is_there("e/before"));
}

#[test]
fn a_hard_link_reaches_nothing_but_files_of_the_layer_before_it() {
    refused(Tarball::new().hard_link("mine", "../canary/secret"));
    refused(Tarball::new().hard_link("mine", "/etc/passwd"));
    refused(Tarball::new().hard_link("mine", "later").file("later", b"x"));
    refused(Tarball::new().hard_link("mine", ""));
    refused(Tarball::new().directory("d").hard_link("mine", "d"));
    refused(Tarball::new().hard_link("mine", "."));
    refused(Tarball::new().file(".wh.gone", b"").hard_link("mine", "gone"));
    refused(Tarball::new().symlink("out", "../canary").hard_link("mine", "out/secret"));
    refused(Tarball::new().file("x", b"").hard_link("x/y", "x"));
    // The link itself, not what it points to.
    let tree = Tree::good(&Tarball::new().symlink("out", "../canary/secret").hard_link("mine", "out").end());
    assert!(tree.stat("mine").is_symlink());
    // And what is written to such a link is not written through it.
    let tree = Tree::good(
        &Tarball::new().symlink("out", "../canary/secret").hard_link("mine", "out").file("mine", b"x").end(),
    );
    assert_eq!(tree.text("mine"), "x");
}

#[test]
fn a_mark_names_no_parent_and_no_other_directory() {
    refused(Tarball::new().file(".wh...", b""));
    refused(Tarball::new().file(".wh..", b""));
    refused(Tarball::new().file(".wh.", b""));
    refused(Tarball::new().file("a/.wh...", b""));
    refused(Tarball::new().file("../.wh.canary", b""));
    refused(Tarball::new().symlink("out", "../canary").file("out/.wh.secret", b""));
    refused(Tarball::new().symlink("out", "../canary").file("out/.wh..wh..opq", b""));
    // A slash in a mark is the end of its directory.
    let tree = Tree::good(&Tarball::new().file(".wh.a/b", b"x").end());
    assert_eq!(tree.text(".wh.a/b"), "x");
}

#[test]
fn owners_that_cannot_be_are_refused() {
    for id in [u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX / 2] {
        for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
            let mut header = header(kind, b"x", b"y", 0);
            header.set_uid(id);
            header.set_cksum();
            refused(Tarball::new().entry(&header, b""));
            header.set_uid(0);
            header.set_gid(id);
            header.set_cksum();
            refused(Tarball::new().entry(&header, b""));
        }
    }
    refused(Tarball::new().pax(&[("uid", b"4294967295")]).file("x", b""));
}

#[test]
fn links_to_nothing_and_files_without_a_name_are_refused() {
    refused(Tarball::new().symlink("x", ""));
    refused(Tarball::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y"));
    refused(Tarball::new().pax(&[("path", b"a\0b")]).file("x", b""));
    refused(Tarball::new().pax(&[("linkpath", "x".repeat(5000).as_bytes())]).symlink("x", "y"));
    refused(Tarball::new().pax(&[("path", "x/".repeat(5000).as_bytes())]).file("x", b""));
    refused(Tarball::new().pax(&[("path", "x".repeat(256).as_bytes())]).file("x", b""));
    refused(Tarball::new().file("", b"x"));
    refused(Tarball::new().file("/", b"x"));
    refused(Tarball::new().file(".", b"x"));
    refused(Tarball::new().symlink("./", "x"));
    // A file on the way.
    refused(Tarball::new().file("a", b"").file("a/b", b""));
}

#[test]
fn what_is_no_tar_stream_is_malformed() {
    let good = Tarball::new().file("a", &[1; 3000]).pax(&[("path", b"x")]).file("b", b"2").end();
    let mut streams: Vec<Vec<u8>> = vec![b"x".repeat(512), b"x".repeat(5), b"PK\x03\x04".repeat(400)];
    for length in [100, 511, 513, 1024, 3000, 4200, 4700, 5200] {
        streams.push(good[..length].to_vec());
    }
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    streams.push(flipped);
    // Kinds that nobody knows, numbers that are none, and headers without an end.
    streams.push(Tarball::new().entry(&header(EntryType::new(b'Z'), b"x", b"", 0), b"").end());
    let mut wrong = header(EntryType::Regular, b"x", b"", 0);
    wrong.as_old_mut().size = *b"none        ";
    wrong.set_cksum();
    streams.push(Tarball::new().entry(&wrong, b"").end());
    let mut huge = header(EntryType::Regular, b"x", b"", 0);
    huge.set_size(u64::MAX);
    huge.set_cksum();
    streams.push(Tarball::new().entry(&huge, b"").0);
    streams.push(Tarball::new().pax(&[("size", b"18446744073709551615")]).file("x", b"").end());
    streams.push((0..100).fold(Tarball::new(), |tar, _| tar.pax(&[("path", b"x")])).end());
    let mut endless = header(EntryType::GNULongName, b"././@LongLink", b"", 0);
    endless.set_size(1 << 40);
    endless.set_cksum();
    streams.push(Tarball::new().entry(&endless, &[b'x'; 100_000]).0);
    for (number, stream) in streams.iter().enumerate() {
        let result = Tree::of(stream).result;
        assert!(
            matches!(result, Err(ImageError::Malformed { .. } | ImageError::TooLarge { .. })),
            "{number}: {result:?}"
        );
    }
}

#[test]
fn files_with_holes_that_lie_are_malformed() {
    let gnu = |pieces: &[(u64, u64)], real: u64, stored: u64| {
        let mut header = header(EntryType::GNUSparse, b"x", b"", stored);
        let gnu = header.as_gnu_mut().unwrap();
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        gnu.set_real_size(real);
        header.set_cksum();
        Tarball::new().entry(&header, &vec![1; usize::try_from(stored).unwrap()]).end()
    };
    let tree = Tree::good(&gnu(&[(1024, 512), (4096, 100)], 10_000, 612));
    assert_eq!(tree.stat("x").len(), 10_000);
    let pax =
        |records: &[(&str, &[u8])], content: &[u8]| Tarball::new().pax(records).file("x", content).end();
    let map = |text: &str| {
        let mut map = text.as_bytes().to_vec();
        map.resize(512, 0);
        map
    };
    let newest: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"1000"), ("GNU.sparse.name", b"y")];
    let lies = [
        gnu(&[(1024, 512), (1000, 100)], 10_000, 612),
        gnu(&[(0, 512)], 10_000, 600),
        gnu(&[(0, 600)], 512, 600),
        gnu(&[(u64::MAX / 2, u64::MAX / 2)], 1, 0),
        gnu(&[(0, 1 << 40)], 1 << 40, 512),
        pax(&[("GNU.sparse.map", b"0,5"), ("GNU.sparse.size", b"100")], b"four"),
        pax(&[("GNU.sparse.map", b"0,4")], b"four"),
        pax(&[("GNU.sparse.map", b"99,4"), ("GNU.sparse.size", b"100")], b"four"),
        pax(newest, b"short"),
        pax(newest, &map("1\n0\n")),
        pax(newest, &map("999999999\n0\n1\n")),
        pax(newest, &map("1\n0\n1\n")),
        pax(newest, &map("x\n")),
        pax(&newest[..1], &map("0\n")),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let result = Tree::of(lie).result;
        assert!(matches!(result, Err(ImageError::Malformed { .. })), "{number}: {result:?}");
    }
    // A name that comes with the holes is no way out, either.
    let out: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.realsize", b"0"),
        ("GNU.sparse.name", b"../canary/secret"),
    ];
    assert!(matches!(Tree::of(&pax(out, &map("0\n"))).result, Err(ImageError::Refused { .. })));
}

#[test]
fn a_tree_of_any_depth_is_made_and_removed() {
    // Each turn goes through a link to the deepest directory so far, so no path is long. The kernel follows 40 links,
    // and counts again those that it followed in vain while something was renamed: 13 are safe.
    let mut layer = Tarball::new().directory("start");
    let mut deepest = String::from("start");
    for turn in 0..13 {
        let link = format!("l{turn}");
        layer = layer.pax(&[("linkpath", deepest.as_bytes())]).symlink(&link, "x");
        deepest = link + &"/d".repeat(300);
        layer = layer.pax(&[("path", deepest.as_bytes())]).directory("x");
    }
    // And something else in its place, so that it has to go.
    let tree = Tree::good(&layer.file("start", b"x").end());
    assert_eq!(tree.text("start"), "x");
}
