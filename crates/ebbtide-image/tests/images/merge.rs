//! Images of many layers: what these are merged to is what overlayfs shows of them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_image::{Collect, Digest, HeldImage, Image, Limits, Origin, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tar::EntryType;

use crate::fixture::{Fixture, layer_of, put_layer, put_manifest};
use crate::tarball::{Tarball, header};

/// As many layers as are mounted one by one.
const FEW: usize = 32;

/// Layers that say nothing about what the others have, so that there are enough to be merged.
fn fillers() -> Vec<Vec<u8>> {
    (0..FEW).map(|number| layer_of(&format!("filler/{number}"), b"x")).collect()
}

fn held(store: &Store, image: &Image) -> HeldImage {
    store.hold(image.clone()).unwrap().unwrap()
}

/// The one directory that the image's layers were merged in.
fn merged(store: &Store, image: &Image) -> Option<PathBuf> {
    let held = held(store, image);
    let is_merged = held.layer_names().len() == 1;
    is_merged.then(|| held.store_dir().join(&held.layer_names()[0]))
}

/// What overlayfs shows of the layers, one by one.
struct Overlay(PathBuf);

impl Overlay {
    fn of(fixture: &Fixture, image: &Image) -> Self {
        let store = fixture.path("layers");
        // It takes each directory once; the upper one counts.
        let mut names = vec!["cover".to_owned()];
        for id in image.layers.iter().rev().map(|layer| &layer.id).chain([&"base".to_owned()]) {
            if !names.contains(id) {
                names.push(id.clone());
            }
        }
        let lower: Vec<String> = names.iter().map(|name| store.join(name).display().to_string()).collect();
        let options = CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
        let at = fixture.around.path().join("overlay");
        fs::create_dir_all(&at).unwrap();
        mount("overlay", &at, "overlay", MountFlags::RDONLY, Some(options.as_c_str())).unwrap();
        Self(at)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// All that a sandbox could see of a root, but for how many names a file has.
fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut to_see = vec![root.to_owned()];
    while let Some(path) = to_see.pop() {
        // Overlayfs lists a mark that hides nothing, and says then that there is nothing.
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let user = xattr(&path, "user.note");
        let capability = xattr(&path, "security.capability");
        let time = (stat.mtime(), stat.mtime_nsec());
        let about = format!(
            "{:o} {}:{} {} {time:?} {user:?} {capability:?} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.rdev(),
            Digest::of(&content)
        );
        if stat.is_dir() {
            to_see.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path.strip_prefix(root).unwrap().to_owned(), about);
    }
    all
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// Each path of which the two differ, with what both show there.
fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (seen(one), seen(other));
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differing.map(|path| format!("{}: {:?} {:?}", path.display(), one.get(path), other.get(path))).collect()
}

fn owned(kind: EntryType, name: &str, mode: u32, uid: u64, mtime: u64) -> tar::Header {
    let mut header = header(kind, name.as_bytes(), b"", 0);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(uid + 1);
    header.set_mtime(mtime);
    header.set_cksum();
    header
}

#[test]
fn layers_of_many_are_merged_to_what_overlayfs_shows_of_them() {
    let fixture = Fixture::new();
    let note: &[(&str, &[u8])] = &[("SCHILY.xattr.user.note", b"mine")];
    let capability: &[(&str, &[u8])] = &[(
        "SCHILY.xattr.security.capability",
        &[1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )];
    let directory = |name, mode, uid, mtime| owned(EntryType::Directory, name, mode, uid, mtime);
    let lower = Tarball::new()
        .entry(&directory("d/", 0o700, 5, 1000), b"")
        .pax(note)
        .entry(&directory("noted/", 0o3770, 1, 2000), b"")
        .file("d/below", b"1")
        .file("d/gone", b"1")
        .file("d/changed", b"1")
        .file("hidden/below", b"1")
        .file("hidden/deep/below", b"1")
        .file("anew/below", b"1")
        .file("directory-then-file/inside", b"1")
        .file("directory-then-link/inside", b"1")
        .file("file-then-directory", b"1")
        .symlink("link-then-directory", "d")
        .symlink("link", "nowhere")
        .pax(capability)
        .entry(&owned(EntryType::Regular, "capable", 0o4755, 7, 3000), b"")
        .file("one", b"of two")
        .hard_link("two", "one")
        .entry(&owned(EntryType::Fifo, "fifo", 0o622, 9, 4000), b"")
        .file("etc/cron.d/job", b"1")
        .file("var/log/app.log", b"1")
        .file("var/lib/app", b"1")
        .end();
    let upper = Tarball::new()
        .entry(&directory("d/", 0o750, 6, 5000), b"")
        .file("d/.wh.gone", b"")
        .file("d/changed", b"22")
        .file("hidden/.wh..wh..opq", b"")
        .file("hidden/above", b"2")
        .file(".wh.anew", b"")
        .file("directory-then-file", b"2")
        .symlink("directory-then-link", "d")
        .directory("file-then-directory/")
        .file("file-then-directory/inside", b"2")
        .file("link-then-directory/inside", b"2")
        // Of the directories that every image stands on, and what is nowhere below.
        .file(".wh.home", b"")
        .file("var/.wh..wh..opq", b"")
        .file("var/lib/upper", b"2")
        .file("d/.wh.nothing", b"")
        .end();
    let top = Tarball::new().file("anew/again", b"3").file("hidden/deep/again", b"3").end();
    let layers = [&[lower][..], &fillers()[2..], &[upper, top]].concat();
    assert_eq!(layers.len(), FEW + 1);
    let image = fixture.image(&layers, &["x"], Origin::Loaded);
    let merged = merged(&fixture.store, &image).expect("merged");
    let overlay = Overlay::of(&fixture, &image);
    assert_eq!(differences(&merged, &overlay.0), [""; 0]);

    let all = seen(&merged);
    for there in
        ["d/below", "hidden/above", "hidden/deep/again", "anew/again", "var/lib/upper", "filler/31", "two"]
    {
        assert!(all.contains_key(Path::new(there)), "{there}");
    }
    for gone in ["d/gone", "d/nothing", "hidden/below", "hidden/deep/below", "anew/below", "home", "var/tmp"]
    {
        assert!(!all.contains_key(Path::new(gone)), "{gone}");
    }
    assert!(!all.values().any(|about| about.starts_with("2000")), "a mark is left");
    // The image is of the same layers still.
    assert_eq!(image.layers.len(), FEW + 1);
}

#[test]
fn a_merged_image_takes_no_disk_for_its_files_and_those_that_have_to_have_one_name_have_one() {
    let fixture = Fixture::new();
    let files = Tarball::new()
        .file("usr/bin/tool", &[7; 100_000])
        .file("etc/crontab", b"* * * * *")
        .file("etc/large", &vec![7; (1 << 20) + 1])
        .file("var/spool/cron/crontabs/root", b"1")
        .file("var/log/app.log", b"1")
        .file("var/lib/app", b"1")
        .end();
    let layers = [&fillers()[..], &[files]].concat();
    let image = fixture.image(&layers, &["x"], Origin::Loaded);
    let merged = merged(&fixture.store, &image).unwrap();
    let own = fixture.path("layers").join(&image.layers[FEW].id);
    let stat = |path: &str| (fs::metadata(own.join(path)).unwrap(), fs::metadata(merged.join(path)).unwrap());
    for linked in ["usr/bin/tool", "etc/large", "var/lib/app"] {
        let (of_layer, of_merged) = stat(linked);
        assert_eq!((of_layer.ino(), of_layer.nlink()), (of_merged.ino(), 2), "{linked}");
    }
    for copied in ["etc/crontab", "var/spool/cron/crontabs/root", "var/log/app.log"] {
        let (of_layer, of_merged) = stat(copied);
        assert_eq!((of_layer.nlink(), of_merged.nlink()), (1, 1), "{copied}");
    }
}

#[test]
fn layers_that_are_few_or_cannot_be_merged_are_mounted_one_by_one() {
    let fixture = Fixture::new();
    let few = fixture.image(&fillers(), &["few"], Origin::Loaded);
    assert_eq!(held(&fixture.store, &few).layer_names().len(), FEW + 2);
    // The same layer again, and one that hides all below it, leave few.
    let again = [fillers(), fillers()].concat();
    let again = fixture.image(&again, &["again"], Origin::Loaded);
    assert_eq!(held(&fixture.store, &again).layer_names().len(), FEW + 2);
    let hiding = [fillers(), vec![layer_of(".wh..wh..opq", b"")], fillers()[1..].to_vec()].concat();
    let hiding = fixture.image(&hiding, &["hiding"], Origin::Loaded);
    assert_eq!(held(&fixture.store, &hiding).layer_names().len(), FEW + 2);

    let mut limits = Limits::default();
    limits.max_entries = 20;
    let fixture = Fixture::with(limits);
    let many = [fillers(), vec![layer_of("one/more", b"")]].concat();
    let many = fixture.image(&many, &["many"], Origin::Loaded);
    assert_eq!(held(&fixture.store, &many).layer_names().len(), FEW + 3);
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
}

#[test]
fn a_file_that_can_have_no_more_names_keeps_the_layers_apart() {
    let fixture = Fixture::new();
    let many = [fillers(), vec![layer_of("full", b"")]].concat();
    // As many names as the file system gives; some have no such bound.
    let ingest = fixture.store.begin().unwrap();
    let parts: Vec<_> = many.iter().map(|layer| put_layer(&ingest, layer).unwrap()).collect();
    let manifest = put_manifest(&ingest, &parts, "{}").unwrap();
    let (blob, diff_id) = parts[FEW];
    let full = ingest.unpack(&blob, &diff_id, &|_| {}).unwrap().id;
    let full = fixture.path("layers").join(full).join("full");
    let names = fixture.around.path().join("names");
    fs::create_dir(&names).unwrap();
    let has_bound = (0..66_000).any(|number| fs::hard_link(&full, names.join(number.to_string())).is_err());
    let image = ingest.finish(&manifest, &["x".parse().unwrap()], Origin::Loaded, None).unwrap();
    assert_eq!(merged(&fixture.store, &image).is_none(), has_bound);
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
    // Once it can be done it is, for an image that is here as well.
    fs::remove_dir_all(&names).unwrap();
    ingest.finish(&manifest, &[], Origin::Loaded, None).unwrap();
    assert!(merged(&fixture.store, &image).is_some());
}

fn merged_names(fixture: &Fixture) -> Vec<String> {
    fixture.names_in("layers").into_iter().filter(|name| name.starts_with("merged-")).collect()
}

#[test]
fn a_merged_directory_is_for_all_images_of_its_layers_and_goes_with_the_last() {
    let fixture = Fixture::new();
    let layers = [fillers(), vec![layer_of("one/more", b"")]].concat();
    let ingest = fixture.store.begin().unwrap();
    let parts: Vec<_> = layers.iter().map(|layer| put_layer(&ingest, layer).unwrap()).collect();
    let images = [r#"{"Cmd":["one"]}"#, r#"{"Cmd":["two"]}"#].map(|config| {
        let manifest = put_manifest(&ingest, &parts, config).unwrap();
        ingest.finish(&manifest, &["x".parse().unwrap()], Origin::Pulled, None).unwrap()
    });
    drop(ingest);
    assert_eq!(merged_names(&fixture).len(), 1);
    // What a process leaves that is killed between putting it into its place and writing the record.
    fs::create_dir(fixture.path("layers/merged-of-nobody")).unwrap();
    let collected = fixture.store.collect(&Collect::default()).unwrap();
    assert_eq!((collected.images[0].digest, collected.layers), (images[0].digest, 1));
    let kept = held(&fixture.store, &images[1]);
    assert_eq!(kept.layer_names(), merged_names(&fixture));
    // It is in use.
    fixture.store.untag(&"x".parse().unwrap()).unwrap();
    assert_eq!(fixture.reopen().collect(&Collect::default()).unwrap().layers, 0);
    assert_eq!(merged_names(&fixture).len(), 1);
    drop(kept);
    let collected = fixture.store.collect(&Collect::default()).unwrap();
    assert_eq!(collected.layers as usize, FEW + 2);
    assert_eq!(fixture.names_in("layers"), ["base", "cover"]);
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
}

#[test]
fn an_image_whose_merged_directory_is_gone_is_mounted_layer_by_layer() {
    let fixture = Fixture::new();
    let layers = [fillers(), vec![layer_of("one/more", b"")]].concat();
    let image = fixture.image(&layers, &["x"], Origin::Pulled);
    fs::remove_dir_all(merged(&fixture.store, &image).unwrap()).unwrap();
    assert_eq!(held(&fixture.store, &image).layer_names().len(), FEW + 3);
    let most = Collect { max_bytes: Some(0), ..Collect::default() };
    assert_eq!(fixture.store.collect(&most).unwrap().images.len(), 1);
}

/// Where the process that is killed finds its store.
const STORE: &str = "EBBTIDE_TEST_MERGING_STORE";
/// Files of each layer.
const FILES: usize = 100;

fn put_images(store: &Store) {
    for round in 0..=u8::MAX {
        let ingest = store.begin().unwrap();
        let layers: Vec<_> = (0..=FEW)
            .map(|layer| {
                let tar = (0..FILES).fold(Tarball::new(), |tar, n| {
                    tar.file(&format!("d{}/{layer}-{n}", n % 7), format!("{round}").as_bytes())
                });
                put_layer(&ingest, &tar.end()).unwrap()
            })
            .collect();
        let manifest = put_manifest(&ingest, &layers, "{}").unwrap();
        ingest.finish(&manifest, &[format!("i:{round}").parse().unwrap()], Origin::Pulled, None).unwrap();
    }
}

#[test]
fn a_process_that_is_killed_while_it_merges_leaves_nothing_half_merged() {
    // The test runs itself again as the process to kill.
    if let Some(store) = std::env::var_os(STORE) {
        return put_images(&Store::open(store, Limits::default()).unwrap());
    }
    let fixture = Fixture::new();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "merge::a_process_that_is_killed_while_it_merges_leaves_nothing_half_merged"])
            .env(STORE, fixture.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100 + round * 73));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let store = fixture.reopen();
        assert!(fixture.names_in("tmp").iter().all(|left| !left.starts_with("merged")));
        for name in merged_names(&fixture) {
            let directory = |n| fixture.path("layers").join(&name).join(format!("d{n}"));
            let files: usize = (0..7).map(|n| fs::read_dir(directory(n)).unwrap().count()).sum();
            assert_eq!(files, (FEW + 1) * FILES, "{name} is not whole");
        }
        for image in store.list().unwrap() {
            assert!(merged(&store, &image).is_some());
        }
    }
}

/// A layer of a few entries of few names, so that they meet.
fn layer() -> impl Strategy<Value = Vec<(u8, String)>> {
    let part = prop::sample::select(vec!["a", "b", "c", "etc", ".wh.a", ".wh.b", ".wh..wh..opq"]);
    let path = vec(part, 1..5).prop_map(|parts| parts.join("/"));
    vec((prop::sample::select(b"00257".to_vec()), path), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_layers_are_they_are_merged_to_what_overlayfs_shows(layers in vec(layer(), FEW + 1)) {
        let fixture = Fixture::new();
        let tar = |(number, entries): (usize, &Vec<(u8, String)>)| {
            let tar = entries.iter().fold(Tarball::new(), |tar, (kind, path)| match kind {
                b'2' => tar.symlink(path, "a"),
                b'5' => tar.entry(&owned(EntryType::Directory, path, 0o750, number as u64, 1000), b""),
                _ => tar.file(path, format!("{number}").as_bytes()),
            });
            // So that no two layers are the same.
            tar.file(&format!("own/{number}"), b"").end()
        };
        let ingest = fixture.store.begin().unwrap();
        let parts: Vec<_> = layers.iter().enumerate().map(tar).filter_map(|tar| put_layer(&ingest, &tar).ok()).collect();
        let manifest = put_manifest(&ingest, &parts, "{}").unwrap();
        let image = ingest.finish(&manifest, &[], Origin::Loaded, None).unwrap();
        if let Some(merged) = merged(&fixture.store, &image) {
            let overlay = Overlay::of(&fixture, &image);
            prop_assert_eq!(differences(&merged, &overlay.0), [""; 0]);
        }
    }
}
