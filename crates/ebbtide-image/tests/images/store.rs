//! What the store keeps, and what it says it has.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ebbtide_image::{Digest, ImageError, ImageName, Origin};

use crate::fixture::{Fixture, gzip, layer_of, put, put_layer, put_manifest};

fn name(name: &str) -> ImageName {
    name.parse().unwrap()
}

#[test]
fn an_image_is_found_by_its_name_its_digest_and_its_indexs_digest() {
    let fixture = Fixture::new();
    let index = Digest::of(b"index");
    let pinned = format!("some/one@{index}");
    let image =
        fixture.image(&[layer_of("a", b"1"), layer_of("b", b"2")], &["some/one:1", &pinned], Origin::Pulled);
    assert_eq!(image.platform, "linux/amd64");
    assert_eq!(image.layers.len(), 2);
    let manifest = format!("some/one@{}", image.digest);
    let both = format!("some/one:other@{index}");
    for asked in ["some/one:1", "docker.io/some/one:1", &pinned, &manifest, &both] {
        let found = fixture.reopen().find(&name(asked)).unwrap();
        assert_eq!(found.as_ref(), Some(&image), "{asked}");
    }
    for asked in ["some/one", "one:1", &format!("a@{}", Digest::of(b"no"))] {
        assert_eq!(fixture.store.find(&name(asked)).unwrap(), None, "{asked}");
    }
    assert_eq!(fixture.store.list().unwrap(), std::slice::from_ref(&image));
    assert_eq!(image.names, [name("some/one:1"), name(&pinned)]);
}

#[test]
fn a_name_moves_to_another_image_and_goes_without_it() {
    let fixture = Fixture::new();
    let first = fixture.image(&[layer_of("a", b"1")], &["x"], Origin::Loaded);
    let second = fixture.image(&[layer_of("a", b"2")], &["x"], Origin::Loaded);
    assert_ne!(first.digest, second.digest);
    assert_eq!(fixture.store.find(&name("x")).unwrap().unwrap().digest, second.digest);
    fixture.store.tag(&name("y"), &first.digest).unwrap();
    assert_eq!(fixture.store.find(&name("y")).unwrap().unwrap().digest, first.digest);
    assert!(fixture.store.untag(&name("x")).unwrap() && !fixture.store.untag(&name("x")).unwrap());
    assert_eq!(fixture.store.find(&name("x")).unwrap(), None);
    let missing = fixture.store.tag(&name("z"), &Digest::of(b"nothing"));
    assert!(matches!(missing, Err(ImageError::Missing { .. })), "{missing:?}");
}

#[test]
fn a_held_image_names_its_layers_from_the_bottom_with_the_runtimes_own_around_them() {
    let fixture = Fixture::new();
    let layers = [layer_of("a", b"1"), layer_of("b", b"2"), layer_of("a", b"1")];
    let image = fixture.image(&layers, &["x"], Origin::Loaded);
    let held = fixture.store.hold(image.clone()).unwrap().unwrap();
    // The first and the third are the same, and overlayfs takes a directory once.
    let expected = ["base", &image.layers[1].id, &image.layers[2].id, "cover"];
    assert_eq!(held.layer_names(), expected);
    for layer in held.layer_names() {
        assert!(held.store_dir().join(layer).is_dir(), "{layer}");
    }
    assert!(held.hold_file().is_file());
    let modes = |layer: &str, names: &[&str]| -> Vec<u32> {
        let at = |name: &&str| fs::metadata(held.store_dir().join(layer).join(name)).unwrap().mode() & 0o7777;
        names.iter().map(at).collect()
    };
    assert_eq!(modes("base", &["tmp", "var/tmp", "root", "etc", ""]), [0o1777, 0o1777, 0o700, 0o755, 0o755]);
    assert_eq!(modes("cover", &["dev", "proc", "sys", "etc/hosts", ""]), [0o755, 0o755, 0o755, 0o644, 0o755]);
}

#[test]
fn a_layer_that_hides_all_below_it_is_the_lowest_that_is_mounted() {
    let fixture = Fixture::new();
    let hiding = crate::tarball::Tarball::new().file(".wh..wh..opq", b"").file("b", b"2").end();
    let image = fixture.image(&[layer_of("a", b"1"), hiding, layer_of("c", b"3")], &["x"], Origin::Loaded);
    let held = fixture.store.hold(image.clone()).unwrap().unwrap();
    assert_eq!(held.layer_names(), ["base", &image.layers[1].id, &image.layers[2].id, "cover"]);
}

#[test]
fn a_layer_is_unpacked_once_for_all_images() {
    let fixture = Fixture::new();
    let shared = layer_of("shared", b"content");
    let first = fixture.image(&[shared.clone(), layer_of("a", b"1")], &["x"], Origin::Loaded);
    let inode = |image: &ebbtide_image::Image| {
        fs::metadata(fixture.path("layers").join(&image.layers[0].id).join("shared")).unwrap().ino()
    };
    let before = inode(&first);
    let second = fixture.image(&[shared, layer_of("b", b"2")], &["y"], Origin::Loaded);
    assert_eq!(before, inode(&second));
    assert_eq!(fixture.names_in("layers").len(), 2 + 3);
}

#[test]
fn a_blob_that_is_not_what_it_should_be_leaves_nothing() {
    let fixture = Fixture::new();
    let ingest = fixture.store.begin().unwrap();
    let digest = Digest::of(b"right");
    let mut wrong = ingest.blob(&digest, None).unwrap();
    wrong.write(b"wrong").unwrap();
    assert!(matches!(wrong.commit(), Err(ImageError::Mismatch { .. })));
    let mut short = ingest.blob(&digest, Some(5)).unwrap();
    short.write(b"righ").unwrap();
    assert!(matches!(short.commit(), Err(ImageError::Size { expected: 5, actual: 4, .. })));
    let mut long = ingest.blob(&digest, Some(5)).unwrap();
    assert!(matches!(long.write(b"right!"), Err(ImageError::Size { .. })));
    drop(long);
    assert!(!ingest.has_blob(&digest));
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    let mut right = ingest.blob(&digest, Some(5)).unwrap();
    right.write(b"ri").unwrap();
    right.write(b"ght").unwrap();
    right.commit().unwrap();
    assert!(ingest.has_blob(&digest));
    let again = ingest.blob(&digest, Some(5)).unwrap();
    assert!(again.is_complete() && again.offset() == 5);
    again.commit().unwrap();
}

#[test]
fn a_layer_that_is_not_what_it_should_be_leaves_nothing() {
    let fixture = Fixture::new();
    let ingest = fixture.store.begin().unwrap();
    let blob = put(&ingest, &gzip(&layer_of("a", b"1"))).unwrap();
    let other = Digest::of(&layer_of("a", b"2"));
    let result = ingest.unpack(&blob, &other, &|_| {});
    assert!(matches!(result, Err(ImageError::Mismatch { .. })), "{result:?}");
    let result = ingest.unpack(&Digest::of(b"nothing"), &other, &|_| {});
    assert!(matches!(result, Err(ImageError::Missing { .. })), "{result:?}");
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    assert_eq!(fixture.names_in("layers"), ["base", "cover"]);
}

#[test]
fn an_image_of_which_something_is_missing_or_malformed_is_not_made() {
    let fixture = Fixture::new();
    let ingest = fixture.store.begin().unwrap();
    let layer = put_layer(&ingest, &layer_of("a", b"1")).unwrap();
    let unpacked_not = (put(&ingest, &gzip(&layer_of("a", b"2"))).unwrap(), Digest::of(&layer_of("a", b"2")));
    let missing = put_manifest(&ingest, &[layer, unpacked_not], "{}").unwrap();
    let no_manifest = put(&ingest, b"{}").unwrap();
    let strange = put_manifest(&ingest, &[layer], r#""text""#).unwrap();
    for manifest in [missing, no_manifest, strange, Digest::of(b"nothing")] {
        assert!(ingest.finish(&manifest, &[name("x")], Origin::Pulled, None).is_err());
    }
    assert_eq!(fixture.names_in("images"), [""; 0]);
    assert_eq!(fixture.names_in("names"), [""; 0]);
}

#[test]
fn an_image_that_was_public_or_loaded_once_stays_so() {
    let fixture = Fixture::new();
    let ingest = fixture.store.begin().unwrap();
    let layer = put_layer(&ingest, &layer_of("a", b"1")).unwrap();
    let manifest = put_manifest(&ingest, &[layer], r#"{"Cmd":["sh"]}"#).unwrap();
    let finish = |origin, private: Option<&str>| {
        let image = ingest.finish(&manifest, &[name("x")], origin, private.map(Into::into)).unwrap();
        assert_eq!(image.config.cmd, ["sh"]);
        (image.origin, image.private_to)
    };
    assert_eq!(finish(Origin::Pulled, Some("me")), (Origin::Pulled, Some("me".into())));
    assert_eq!(finish(Origin::Pulled, Some("you")), (Origin::Pulled, Some("you".into())));
    assert_eq!(finish(Origin::Loaded, None), (Origin::Loaded, None));
    assert_eq!(finish(Origin::Pulled, Some("me")), (Origin::Loaded, None));
}

#[test]
fn a_second_writer_of_a_blob_waits_and_finds_it_written() {
    let fixture = Fixture::new();
    let content = vec![7; 100_000];
    let digest = Digest::of(&content);
    let ingest = fixture.store.begin().unwrap();
    let mut first = ingest.blob(&digest, None).unwrap();
    first.write(&content[..50_000]).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let other = fixture.reopen();
            let ingest = other.begin().unwrap();
            let writer = ingest.blob(&digest, None).unwrap();
            (writer.is_complete(), writer.offset())
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!second.is_finished());
        first.write(&content[50_000..]).unwrap();
        first.commit().unwrap();
        assert_eq!(second.join().unwrap(), (true, 100_000));
    });
}
