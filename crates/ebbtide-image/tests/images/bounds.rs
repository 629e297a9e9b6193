//! What is too large is refused, before it has filled anything.

use std::io::{self, BufRead, Read};

use ebbtide_image::{Digest, ImageError, Limits};
use tar::EntryType;

use crate::fixture::{Fixture, gzip, layer_of, put, put_layer, put_manifest};
use crate::tarball::{Tarball, header};
use crate::tree::Tree;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn setting(result: &Result<impl std::fmt::Debug, ImageError>) -> &'static str {
    match result {
        Err(ImageError::TooLarge { setting, .. }) => setting,
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_entries_than_allowed_are_refused() {
    let limits = limits(|limits| limits.max_entries = 100);
    let layer = |count| (0..count).fold(Tarball::new(), |tar, n| tar.file(&format!("f{n}"), b"")).end();
    assert!(Tree::within(&*layer(100), &limits).result.is_ok());
    assert_eq!(setting(&Tree::within(&*layer(101), &limits).result), "max_entries");
    // Also those that are not kept.
    let same = (0..101).fold(Tarball::new(), |tar, _| tar.file(".wh.x", b"")).end();
    assert_eq!(setting(&Tree::within(&*same, &limits).result), "max_entries");
    let devices = (0..101).fold(Tarball::new(), |tar, _| tar.link(EntryType::Char, "x", "")).end();
    assert_eq!(setting(&Tree::within(&*devices, &limits).result), "max_entries");
}

/// The same bytes again and again.
struct Again<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl BufRead for Again<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.bytes.len() && self.left > 0 {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(&self.bytes[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Again<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[test]
fn a_million_entries_are_read_in_bounded_memory_and_refused_where_the_bound_is() {
    let thousand = (0..1000).fold(Tarball::new(), |tar, n| tar.file(&format!("f{n}"), b""));
    let million = Again { bytes: &thousand.0, at: 0, left: 999 };
    let tree = Tree::within(million, &limits(|limits| limits.max_entries = 20_000));
    assert_eq!(setting(&tree.result), "max_entries");
    // Allowed, but devices: so that nothing is made of them.
    let thousand = (0..1000).fold(Tarball::new(), |tar, n| tar.link(EntryType::Char, &format!("f{n}"), ""));
    let million = Again { bytes: &thousand.0, at: 0, left: 999 };
    let tree = Tree::within(million, &limits(|limits| limits.max_entries = 1_000_000));
    let unpacked = tree.result.unwrap();
    assert_eq!(unpacked.skipped, 1_000_000);
    assert!(unpacked.skipped_paths.len() < 100);
}

#[test]
fn a_file_that_says_it_is_too_large_is_refused_at_its_header() {
    let limits = limits(|limits| limits.max_unpacked_bytes = 1 << 20);
    let mut large = header(EntryType::Regular, b"x", b"", 0);
    large.set_size(1 << 40);
    large.set_cksum();
    let tree = Tree::within(&*Tarball::new().entry(&large, b"only this").0, &limits);
    assert_eq!(setting(&tree.result), "max_unpacked_bytes");
    assert!(!tree.is_there("x"));
    // All holes and no bytes is as large to whoever reads it.
    let mut holes = header(EntryType::GNUSparse, b"x", b"", 0);
    holes.as_gnu_mut().unwrap().set_real_size(1 << 40);
    holes.set_cksum();
    let tree = Tree::within(&*Tarball::new().entry(&holes, b"").end(), &limits);
    assert_eq!(setting(&tree.result), "max_unpacked_bytes");
}

#[test]
fn what_is_said_about_an_entry_counts_however_it_is_said() {
    let limits = limits(|limits| limits.max_unpacked_bytes = 4 << 20);
    let long = vec![b'x'; 900_000];
    let comments = |tar: Tarball| tar.pax(&[("comment", &long)]).file("x", b"");
    assert!(
        Tree::within(&*(0..4).fold(Tarball::new(), |tar, _| comments(tar)).end(), &limits).result.is_ok()
    );
    let tree = Tree::within(&*(0..5).fold(Tarball::new(), |tar, _| comments(tar)).end(), &limits);
    assert_eq!(setting(&tree.result), "max_unpacked_bytes");
    // For all entries at once: no longer than for one.
    let mut global = header(EntryType::XGlobalHeader, b"x", b"", 0);
    global.set_size(1 << 30);
    global.set_cksum();
    let tree = Tree::within(&*Tarball::new().entry(&global, b"").0, &limits);
    assert!(matches!(tree.result, Err(ImageError::Malformed { .. })), "{:?}", tree.result);
    // And a map of a file's holes that goes on and on about nothing.
    let mut holes = header(EntryType::GNUSparse, b"x", b"", 0);
    holes.as_gnu_mut().unwrap().set_is_extended(true);
    holes.set_cksum();
    let mut more = [0; 512];
    more[504] = 1;
    let tree = Tree::within(&*Tarball::new().entry(&holes, &more.repeat(20_000)).0, &limits);
    assert!(matches!(tree.result, Err(ImageError::Malformed { .. })), "{:?}", tree.result);
}

/// A hundred megabytes of zeros after a good beginning, as half of one.
fn bomb(begin: &[u8]) -> Vec<u8> {
    [gzip(begin), gzip(&vec![0; 1 << 20]).repeat(100)].concat()
}

#[test]
fn a_bomb_of_zeros_is_refused_wherever_it_hides() {
    let fixture = Fixture::with(limits(|limits| limits.max_unpacked_bytes = 8 << 20));
    let ingest = fixture.store.begin().unwrap();
    let any = Digest::of(b"");
    let mut large = header(EntryType::Regular, b"x", b"", 0);
    large.set_size(1 << 30);
    large.set_cksum();
    let in_a_file = put(&ingest, &bomb(&Tarball::new().entry(&large, b"").0)).unwrap();
    assert_eq!(setting(&ingest.unpack(&in_a_file, &any, &|_| {})), "max_unpacked_bytes");
    let after_the_end = put(&ingest, &bomb(&layer_of("a", b"1"))).unwrap();
    let result = ingest.unpack(&after_the_end, &any, &|_| {});
    assert!(matches!(result, Err(ImageError::Malformed { .. })), "{result:?}");
    large.set_entry_type(EntryType::XHeader);
    large.set_cksum();
    let in_a_header = put(&ingest, &bomb(&Tarball::new().entry(&large, b"").0)).unwrap();
    let result = ingest.unpack(&in_a_header, &any, &|_| {});
    assert!(matches!(result, Err(ImageError::Malformed { .. })), "{result:?}");
    // A bomb in a bomb is a file of the layer like any other: nothing unpacks it.
    let inner = bomb(b"");
    let layer = layer_of("bomb.gz", &inner);
    put_layer(&ingest, &layer).unwrap();
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    assert_eq!(fixture.names_in("layers").len(), 3);
}

#[test]
fn the_layers_of_an_image_are_bounded_together() {
    let fixture = Fixture::with(limits(|limits| limits.max_unpacked_bytes = 10_000));
    let ingest = fixture.store.begin().unwrap();
    put_layer(&ingest, &layer_of("a", &[1; 6000])).unwrap();
    assert_eq!(setting(&put_layer(&ingest, &layer_of("b", &[2; 6000]))), "max_unpacked_bytes");
    let fixture = Fixture::with(limits(|limits| limits.max_layers = 2));
    let ingest = fixture.store.begin().unwrap();
    let layer = put_layer(&ingest, &layer_of("a", b"1")).unwrap();
    let manifest = put_manifest(&ingest, &[layer, layer, layer], "{}").unwrap();
    let result = ingest.finish(&manifest, &[], ebbtide_image::Origin::Pulled, None);
    assert_eq!(setting(&result), "max_layers");
}

#[test]
fn a_blob_or_document_that_is_too_large_is_refused() {
    let fixture = Fixture::with(limits(|limits| {
        limits.max_blob_bytes = 1000;
        limits.max_manifest_bytes = 100;
    }));
    let ingest = fixture.store.begin().unwrap();
    let digest = Digest::of(b"");
    assert_eq!(setting(&ingest.blob(&digest, Some(1001))), "max_blob_bytes");
    let mut writer = ingest.blob(&digest, None).unwrap();
    writer.write(&[0; 1000]).unwrap();
    assert_eq!(setting(&writer.write(&[0])), "max_blob_bytes");
    let document = put(&ingest, &[b' '; 101]).unwrap();
    let result = ingest.finish(&document, &[], ebbtide_image::Origin::Pulled, None);
    assert_eq!(setting(&result), "max_manifest_bytes");
}

#[test]
fn what_would_fill_the_disk_is_refused_before() {
    let full = limits(|limits| limits.min_free_bytes = u64::MAX / 2);
    let tree = Tree::within(&*layer_of("a", b"1"), &full);
    assert!(matches!(tree.result, Err(ImageError::NoRoom { .. })), "{:?}", tree.result);
    assert!(!tree.is_there("a"));
    // So is what comes, before it is unpacked.
    let fixture = Fixture::with(full);
    let ingest = fixture.store.begin().unwrap();
    let refused = ingest.blob(&Digest::of(b"1"), None).unwrap().write(b"1");
    assert!(matches!(refused, Err(ImageError::NoRoom { .. })), "{refused:?}");
    // And with what is free now: one file that needs more than that.
    let stat = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    let mut large = header(EntryType::Regular, b"x", b"", 0);
    large.set_size(stat.f_bavail * stat.f_frsize);
    large.set_cksum();
    let most = limits(|limits| limits.max_unpacked_bytes = u64::MAX);
    let tree = Tree::within(&*Tarball::new().entry(&large, b"x").0, &most);
    assert!(matches!(tree.result, Err(ImageError::NoRoom { .. })), "{:?}", tree.result);
    let error = tree.result.unwrap_err().to_string();
    assert!(error.contains("ebb image gc"), "{error}");
}
