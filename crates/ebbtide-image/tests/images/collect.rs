//! Garbage goes, and nothing else.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use ebbtide_image::{Collect, Digest, Image, Origin};
use rustix::fs::{FlockOperation, flock};

use crate::fixture::{Fixture, layer_of, put};

fn layer(number: u8) -> Vec<u8> {
    layer_of("content", &vec![number; 10_000])
}

fn digests(images: &[Image]) -> Vec<Digest> {
    images.iter().map(|image| image.digest).collect()
}

#[test]
fn images_without_a_name_go_with_all_that_only_they_have() {
    let fixture = Fixture::new();
    let kept = fixture.image(&[layer(1), layer(2)], &["kept"], Origin::Pulled);
    let gone = fixture.image(&[layer(1), layer(3)], &[], Origin::Loaded);
    let ingest = fixture.store.begin().unwrap();
    put(&ingest, b"a blob of no image").unwrap();
    drop(ingest);
    let dry = fixture.store.collect(&Collect { dry_run: true, ..Collect::default() }).unwrap();
    let before = fixture.names_in("layers");
    let collected = fixture.store.collect(&Collect::default()).unwrap();
    assert_eq!(digests(&collected.images), [gone.digest]);
    // Its manifest, its configuration, one of its layers, and the blob of none.
    assert_eq!((collected.blobs, collected.layers), (4, 1));
    assert!(collected.bytes > 10_000, "{}", collected.bytes);
    assert_eq!((dry.blobs, dry.layers, dry.bytes), (collected.blobs, collected.layers, collected.bytes));
    assert_eq!(before.len(), fixture.names_in("layers").len() + 1);
    assert_eq!(fixture.store.list().unwrap(), std::slice::from_ref(&kept));
    assert_eq!(fixture.names_in("images").len(), 2);
    assert_eq!(fixture.names_in("blobs/sha256").len(), 4);
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    let again = fixture.store.collect(&Collect::default()).unwrap();
    assert_eq!((again.images.len(), again.blobs, again.layers, again.bytes), (0, 0, 0, 0));
    let held = fixture.store.hold(kept.clone()).unwrap().unwrap();
    for layer in held.layer_names() {
        assert!(held.store_dir().join(layer).is_dir());
    }
}

#[test]
fn an_image_in_use_stays_whoever_uses_it() {
    let fixture = Fixture::new();
    let image = fixture.image(&[layer(1)], &["x"], Origin::Pulled);
    let all = Collect { all: true, max_bytes: Some(0), dry_run: false };
    let held = fixture.store.hold(image.clone()).unwrap().unwrap();
    fixture.store.untag(&"x".parse().unwrap()).unwrap();
    assert_eq!(fixture.reopen().collect(&all).unwrap().images.len(), 0);
    // Another process, which knows only the file: it outlives whoever held the image first.
    let file = File::open(held.hold_file()).unwrap();
    flock(&file, FlockOperation::NonBlockingLockShared).unwrap();
    drop(held);
    assert_eq!(fixture.reopen().collect(&all).unwrap().images.len(), 0);
    assert!(fixture.store.hold(image.clone()).unwrap().is_some());
    drop(file);
    assert_eq!(fixture.reopen().collect(&all).unwrap().images.len(), 1);
    assert!(fixture.store.hold(image.clone()).unwrap().is_none());
    assert_eq!(fixture.names_in("layers"), ["base", "cover"]);
}

#[test]
fn pulled_images_go_when_all_are_meant_and_loaded_ones_with_a_name_stay() {
    let fixture = Fixture::new();
    let loaded = fixture.image(&[layer(1)], &["loaded"], Origin::Loaded);
    let pulled = fixture.image(&[layer(2)], &["pulled", "second:name"], Origin::Pulled);
    let collected = fixture.store.collect(&Collect { all: true, ..Collect::default() }).unwrap();
    assert_eq!(digests(&collected.images), [pulled.digest]);
    assert_eq!(collected.images[0].names.len(), 2);
    assert_eq!(digests(&fixture.store.list().unwrap()), [loaded.digest]);
    assert_eq!(fixture.names_in("names").len(), 1);
}

#[test]
fn past_its_bound_the_store_loses_what_was_used_the_longest_ago() {
    let fixture = Fixture::new();
    let images: Vec<_> = (0..5u8)
        .map(|number| fixture.image(&[layer(number)], &[&format!("i{number}")], Origin::Pulled))
        .collect();
    fixture.image(&[layer(9)], &["loaded"], Origin::Loaded);
    for (image, hours) in images.iter().zip([1, 5, 2, 4, 3]) {
        let record =
            File::options().write(true).open(fixture.path("images").join(image.digest.hex())).unwrap();
        record.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
    }
    // The oldest is used again, so that it is the newest.
    drop(fixture.store.hold(images[1].clone()).unwrap().unwrap());
    // 12 KiB and a little more each, of which there are six.
    let most = Collect { max_bytes: Some(4 * 13_000), ..Collect::default() };
    let collected = fixture.store.collect(&most).unwrap();
    assert_eq!(digests(&collected.images), [images[3].digest, images[4].digest]);
    let none = Collect { max_bytes: Some(0), ..Collect::default() };
    assert_eq!(fixture.store.collect(&none).unwrap().images.len(), 3);
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

#[test]
fn nothing_is_collected_while_somebody_puts_an_image_in() {
    let fixture = Fixture::new();
    let ingest = fixture.store.begin().unwrap();
    let blob = put(&ingest, b"of an image to come").unwrap();
    let other = fixture.reopen();
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| other.collect(&Collect::default()).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!collecting.is_finished() && ingest.has_blob(&blob));
        drop(ingest);
        assert_eq!(collecting.join().unwrap().blobs, 1);
    });
}

#[test]
fn after_a_reboot_only_what_belongs_to_an_image_is_trusted() {
    let fixture = Fixture::new();
    let image = fixture.image(&[layer(1)], &["x"], Origin::Pulled);
    let ingest = fixture.store.begin().unwrap();
    let loose = put(&ingest, b"may never have reached the disk").unwrap();
    let loose_layer = crate::fixture::put_layer(&ingest, &layer(2)).unwrap();
    drop(ingest);
    fs::write(fixture.path("tmp/blob-begun"), b"begun").unwrap();
    let trusted = |store: &ebbtide_image::Store| store.begin().unwrap().has_blob(&loose);
    assert!(trusted(&fixture.reopen()));
    fs::write(fixture.path("boot"), "an earlier boot").unwrap();
    let store = fixture.reopen();
    assert!(!trusted(&store) && !store.begin().unwrap().has_blob(&loose_layer.0));
    assert_eq!(fixture.names_in("layers").len(), 3);
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    assert_eq!(store.list().unwrap(), [image]);
}

#[test]
fn many_threads_put_use_and_collect_without_losing_anything() {
    let fixture = Fixture::new();
    let stay = fixture.image(&[layer(0)], &["stays"], Origin::Loaded);
    std::thread::scope(|scope| {
        for number in 0..24u8 {
            let fixture = &fixture;
            let stay = &stay;
            scope.spawn(move || match number % 3 {
                0 => {
                    let image = fixture.image(&[layer(0), layer(number)], &[], Origin::Pulled);
                    if let Some(held) = fixture.store.hold(image.clone()).unwrap() {
                        let all =
                            || held.layer_names().iter().all(|name| held.store_dir().join(name).is_dir());
                        assert!(all());
                        std::thread::sleep(Duration::from_millis(50));
                        assert!(all());
                    }
                }
                1 => drop(fixture.store.collect(&Collect { all: true, ..Collect::default() })),
                _ => assert!(fixture.store.hold(stay.clone()).unwrap().is_some()),
            });
        }
    });
    fixture.store.collect(&Collect { all: true, ..Collect::default() }).unwrap();
    assert_eq!(
        fixture.store.list().unwrap(),
        fixture.store.find(&"stays".parse().unwrap()).unwrap().as_slice()
    );
    assert_eq!((fixture.names_in("layers").len(), fixture.names_in("tmp").len()), (3, 0));
}
