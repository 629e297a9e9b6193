//! Deaths in the middle: of a real process, by SIGKILL, at any moment.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_image::{Collect, Digest, Limits, Origin, Store};

use crate::fixture::{Fixture, put, put_layer, put_manifest};
use crate::tarball::Tarball;

/// Where the process that is killed finds its store.
const STORE: &str = "EBBTIDE_TEST_STORE";

/// A layer that takes a moment.
fn layer(number: u8) -> Vec<u8> {
    (0..300).fold(Tarball::new(), |tar, n| tar.file(&format!("d{}/f{n}", n % 7), &vec![number; 2000])).end()
}

/// What the process does over and over: other images each time.
fn put_images(store: &Store) {
    for round in 0..=u8::MAX {
        let ingest = store.begin().unwrap();
        let layers: Vec<_> =
            [round, round.wrapping_add(1)].iter().map(|n| put_layer(&ingest, &layer(*n)).unwrap()).collect();
        let manifest = put_manifest(&ingest, &layers, "{}").unwrap();
        let name = format!("image:{round}").parse().unwrap();
        ingest.finish(&manifest, &[name], Origin::Pulled, None).unwrap();
        drop(ingest);
        if round % 3 == 2 {
            let _ = store.collect(&Collect { all: true, ..Collect::default() });
        }
    }
}

#[test]
fn a_process_that_is_killed_leaves_nothing_that_is_trusted_by_mistake() {
    // The test runs itself again as the process to kill.
    if let Some(store) = std::env::var_os(STORE) {
        return put_images(&Store::open(store, Limits::default()).unwrap());
    }
    let fixture = Fixture::new();
    let mut image_count = 0;
    for round in 0..25 {
        let test = "crash::a_process_that_is_killed_leaves_nothing_that_is_trusted_by_mistake";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(STORE, fixture.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(30 + round * 37));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        image_count = image_count.max(check(&fixture));
    }
    assert!(image_count > 0, "no round came as far as an image");
    // A second try of whatever was begun works, and in the end nothing else is there.
    let image = fixture.image(&[layer(0), layer(1)], &["again"], Origin::Loaded);
    fixture.reopen().collect(&Collect { all: true, ..Collect::default() }).unwrap();
    assert_eq!(
        fixture.store.list().unwrap(),
        [fixture.store.find(&"again".parse().unwrap()).unwrap().unwrap()]
    );
    assert_eq!((image.layers.len(), fixture.names_in("layers").len()), (2, 4));
    assert_eq!((fixture.names_in("blobs/sha256").len(), fixture.names_in("tmp").len()), (4, 0));
}

/// Everything that the store would trust is as it should be; how many images it has.
fn check(fixture: &Fixture) -> usize {
    let store = fixture.reopen();
    // Only begun blobs are left of what was half-made.
    for left in fixture.names_in("tmp") {
        assert!(left.starts_with("blob-") || left.starts_with("file-"), "{left}");
    }
    for blob in fixture.names_in("blobs/sha256") {
        let content = std::fs::read(fixture.path("blobs/sha256").join(&blob)).unwrap();
        assert_eq!(Digest::of(&content).hex(), blob);
    }
    for layer in fixture.names_in("layers") {
        let path = fixture.path("layers").join(&layer);
        if layer != "base" && layer != "cover" {
            let files: usize =
                (0..7).map(|n| std::fs::read_dir(path.join(format!("d{n}"))).unwrap().count()).sum();
            assert_eq!(files, 300, "{layer} is not whole");
        }
    }
    let images = store.list().unwrap();
    for image in &images {
        assert_eq!(image.layers.len(), 2);
        let held = store.hold(image.clone()).unwrap().unwrap();
        assert!(held.layer_names().iter().all(|layer| held.store_dir().join(layer).is_dir()));
    }
    images.len()
}

#[test]
fn a_blob_that_a_dead_process_has_begun_is_gone_on_with() {
    let fixture = Fixture::new();
    let content = b"the whole content".repeat(1000);
    let digest = Digest::of(&content);
    let begun = fixture.path("tmp").join(format!("blob-{}", digest.hex()));
    std::fs::write(&begun, &content[..5000]).unwrap();
    let store = fixture.reopen();
    let ingest = store.begin().unwrap();
    assert_eq!(ingest.blob(&digest, None).unwrap().offset(), 5000);
    // Dropping that has removed it; and what is wrong in it is found out.
    std::fs::write(&begun, b"something else").unwrap();
    let mut writer = ingest.blob(&digest, None).unwrap();
    let offset = usize::try_from(writer.offset()).unwrap();
    writer.write(&content[offset..]).unwrap();
    assert!(writer.commit().is_err() && !begun.exists() && !ingest.has_blob(&digest));
    // What is longer than the blob is not begun with, nor is what the source cannot go on with.
    std::fs::write(&begun, b"x".repeat(20_000)).unwrap();
    assert_eq!(ingest.blob(&digest, Some(content.len() as u64)).unwrap().offset(), 0);
    std::fs::write(&begun, &content[..5000]).unwrap();
    let mut writer = ingest.blob(&digest, None).unwrap();
    writer.start_over().unwrap();
    assert_eq!(writer.offset(), 0);
    writer.write(&content).unwrap();
    writer.commit().unwrap();
    assert_eq!(put(&ingest, &content).unwrap(), digest);
}
