//! What a well-meant layer becomes.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use ebbtide_image::{Digest, Encoding};
use tar::EntryType;

use crate::fixture::{Fixture, gzip, layer_of, put};
use crate::tarball::{Tarball, header};
use crate::tree::Tree;

#[test]
fn modes_owners_and_times_are_kept() {
    let with = |kind, name: &[u8], link: &[u8], mode, uid, gid, mtime| {
        let mut header = header(kind, name, link, 0);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(mtime);
        header.set_cksum();
        header
    };
    let tree = Tree::good(
        &Tarball::new()
            .entry(&with(EntryType::Directory, b"d/", b"", 0o3770, 7, 8, 1000), b"")
            .entry(&with(EntryType::Regular, b"d/suid", b"", 0o4755, 1000, 65534, 2000), b"")
            .entry(&with(EntryType::Symlink, b"d/link", b"/nowhere", 0o777, 9, 10, 3000), b"")
            .entry(&with(EntryType::Fifo, b"d/fifo", b"", 0o622, 4_294_967_294, 1, 4000), b"")
            .entry(&with(EntryType::Regular, b"d/root", b"", 0, 0, 0, 0), b"")
            .end(),
    );
    let about = |name: &str| {
        let stat = tree.stat(name);
        (stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime())
    };
    assert_eq!(about("d"), (0o3770, 7, 8, 1000));
    assert_eq!(about("d/suid"), (0o4755, 1000, 65534, 2000));
    assert_eq!(about("d/link"), (0o777, 9, 10, 3000));
    assert_eq!(about("d/fifo"), (0o622, 4_294_967_294, 1, 4000));
    // Not the group of the directory, whose set-group-id bit would give it.
    assert_eq!(about("d/root"), (0, 0, 0, 0));
    assert!(tree.stat("d/fifo").file_type().is_fifo());
}

#[test]
fn names_may_hold_any_byte_and_be_long() {
    let odd = b"a \n\xff\\*'\"\x01";
    let long = "l/".repeat(300) + &"n".repeat(255);
    let gnu = "g".repeat(200);
    let gnu_name = [gnu.as_bytes(), b"\0"].concat();
    let tree = Tree::good(
        &Tarball::new()
            .entry(&header(EntryType::Regular, odd, b"", 1), b"1")
            .pax(&[("path", b"pax\nname=\xff"), ("linkpath", b"t\n\xfe")])
            .entry(&header(EntryType::Symlink, b"short", b"short", 0), b"")
            .pax(&[("path", long.as_bytes())])
            .file("short", b"2")
            .entry(&header(EntryType::GNULongName, b"././@LongLink", b"", 201), &gnu_name)
            .entry(&header(EntryType::GNULongLink, b"././@LongLink", b"", 201), &gnu_name)
            .symlink("short", "short")
            .end(),
    );
    assert_eq!(fs::read(tree.path(OsStr::from_bytes(odd))).unwrap(), b"1");
    let target = fs::read_link(tree.path(OsStr::from_bytes(b"pax\nname=\xff"))).unwrap();
    assert_eq!(target.as_os_str().as_bytes(), b"t\n\xfe");
    assert_eq!(tree.text(&long), "2");
    assert_eq!(fs::read_link(tree.path(&gnu)).unwrap(), Path::new(&gnu));
    assert!(!tree.is_there("short"));
}

#[test]
fn attributes_are_kept_but_those_that_mean_something_to_the_host() {
    // cap_net_bind_service, with a line feed in it.
    let capability = b"\x01\x00\x00\x02\x00\x04\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let attributes: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.mine", b"a\nb"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.ebbtide.layer", b"1 1"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.system.posix_acl_access", b"x"),
    ];
    let tree = Tree::good(
        &Tarball::new().pax(attributes).file("file", b"x").pax(attributes).directory("directory").end(),
    );
    for name in ["file", "directory"] {
        assert_eq!(tree.xattr(name, "user.mine").unwrap(), b"a\nb");
        assert_eq!(tree.xattr(name, "security.capability").unwrap(), capability);
        for (attribute, _) in &attributes[2..] {
            let attribute = attribute.strip_prefix("SCHILY.xattr.").unwrap();
            assert_eq!(tree.xattr(name, attribute), None, "{attribute}");
        }
    }
    assert_eq!(tree.result.as_ref().unwrap().dropped_xattrs, 12);
}

#[test]
fn hard_links_are_one_file_also_to_a_link() {
    let tree = Tree::good(
        &Tarball::new()
            .file("a/file", b"x")
            .hard_link("b/file", "a/file")
            .hard_link("c", "/a/file")
            .hard_link("c", "./a/file")
            .symlink("link", "a/file")
            .hard_link("link2", "link")
            .end(),
    );
    assert_eq!(tree.stat("a/file").nlink(), 3);
    assert_eq!(tree.stat("a/file").ino(), tree.stat("c").ino());
    assert_eq!(tree.stat("link").ino(), tree.stat("link2").ino());
    assert!(tree.stat("link2").is_symlink());
}

#[test]
fn marks_of_what_is_gone_become_overlayfs_own() {
    let tree = Tree::good(
        &Tarball::new()
            .file("etc/.wh.passwd", b"")
            .directory("var/")
            .file("var/.wh..wh..opq", b"")
            .file("var/new", b"x")
            .file(".wh.here", b"")
            .file("here", b"after the mark")
            .file("there", b"before the mark")
            .file(".wh.there", b"")
            .file(".wh.dir", b"")
            .directory("dir")
            .directory("dir2")
            .file(".wh.dir2", b"")
            .file(".wh.implied", b"")
            .file("implied/x", b"x")
            .file(".wh..wh.plnk/1.2", b"")
            .file(".wh..wh.aufs", b"")
            .end(),
    );
    assert!(tree.is_whiteout("etc/passwd") && !tree.is_there("etc/.wh.passwd"));
    assert!(tree.is_opaque("var") && tree.text("var/new") == "x" && !tree.is_opaque("etc"));
    // A mark is about the layers below, whatever this layer has there itself.
    assert_eq!((tree.text("here"), tree.text("there")), ("after the mark".into(), "before the mark".into()));
    for directory in ["dir", "dir2", "implied"] {
        assert!(tree.stat(directory).is_dir() && tree.is_opaque(directory), "{directory}");
    }
    assert!(!tree.is_there(".wh..wh.plnk") && !tree.is_there(".wh..wh.aufs"));
    assert!(!tree.result.as_ref().unwrap().hides_below);
}

#[test]
fn of_entries_with_one_name_the_last_one_stays() {
    let mut closed = header(EntryType::Directory, b"dir", b"", 0);
    closed.set_mode(0o700);
    closed.set_cksum();
    let tree = Tree::good(
        &Tarball::new()
            .file("file", b"first")
            .file("file", b"second")
            .directory("dir")
            .file("dir/kept", b"x")
            .entry(&closed, b"")
            .directory("becomes-file")
            .file("becomes-file/a/b", b"x")
            .file("becomes-file", b"file")
            .file("becomes-dir", b"x")
            .file("becomes-link", b"x")
            .symlink("becomes-link", "dir")
            .file("becomes-link/through", b"x")
            .directory("becomes-dir")
            .symlink("real", "dir")
            .directory("real")
            .file("real/inside", b"x")
            .end(),
    );
    assert_eq!((tree.text("file"), tree.text("becomes-file")), ("second".into(), "file".into()));
    assert_eq!((tree.text("dir/kept"), tree.mode("dir")), ("x".into(), 0o700));
    assert!(tree.stat("becomes-dir").is_dir());
    assert_eq!(tree.text("dir/through"), "x");
    assert!(tree.stat("real").is_dir() && !tree.is_there("dir/inside"));
}

#[test]
fn links_on_the_way_lead_where_they_would_inside_the_image() {
    let tree = Tree::good(
        &Tarball::new()
            .directory("usr/lib")
            .symlink("lib", "usr/lib")
            .symlink("abs", "/usr/lib")
            .symlink("up", "../../../../usr/lib")
            .file("lib/a", b"1")
            .file("abs/b", b"2")
            .file("up/c", b"3")
            .hard_link("up/d", "abs/b")
            .end(),
    );
    for (name, content) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "2")] {
        assert_eq!(tree.text(&format!("usr/lib/{name}")), content);
    }
    assert!(tree.stat("lib").is_symlink());
}

#[test]
fn devices_are_left_out_and_named() {
    let mut zero = header(EntryType::Char, b"dev/zero", b"", 0);
    zero.set_device_major(1).unwrap();
    zero.set_device_minor(5).unwrap();
    zero.set_cksum();
    let tree = Tree::good(
        &Tarball::new()
            .entry(&zero, b"")
            .entry(&header(EntryType::Block, b"dev/sda", b"", 0), b"")
            // Number 0/0 would be a mark that something is gone.
            .entry(&header(EntryType::Char, b"gone", b"", 0), b"")
            .file("file", b"x")
            .end(),
    );
    let unpacked = tree.result.as_ref().unwrap();
    assert_eq!((unpacked.entries, unpacked.skipped), (1, 3));
    assert_eq!(unpacked.skipped_paths, ["dev/zero", "dev/sda", "gone"].map(Path::new));
    assert!(!tree.is_there("gone") && !tree.is_there("dev/zero"));
}

/// A directory as the host's tar makes a stream of it.
fn host_tar(directory: &Path, options: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(options).args(["--create", "--directory"]).arg(directory).arg(".");
    let output = tar.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{options:?}");
    output.stdout
}

#[test]
fn what_the_hosts_tar_makes_comes_back_in_every_format() {
    let from = tempfile::tempdir().unwrap();
    let at = |name: &str| from.path().join(name);
    fs::create_dir_all(at("d/e")).unwrap();
    fs::write(at("d/e/file"), vec![9; 300_000]).unwrap();
    fs::hard_link(at("d/e/file"), at("again")).unwrap();
    std::os::unix::fs::symlink("d/e", at("link")).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o750)).unwrap();
    let holes = fs::File::create(at("holes")).unwrap();
    for (offset, byte) in [(1 << 20, 1), (3 << 20, 2), (7 << 20, 3)] {
        std::os::unix::fs::FileExt::write_all_at(&holes, &[byte; 5000], offset).unwrap();
    }
    holes.set_len(9 << 20).unwrap();
    for options in [
        &["--format=v7"][..],
        &["--format=ustar"],
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ] {
        let tree = Tree::good(&host_tar(from.path(), options));
        for name in ["d/e/file", "again", "holes"] {
            assert!(fs::read(tree.path(name)).unwrap() == fs::read(at(name)).unwrap(), "{name} {options:?}");
        }
        assert_eq!(tree.stat("again").ino(), tree.stat("d/e/file").ino());
        assert_eq!(fs::read_link(tree.path("link")).unwrap(), Path::new("d/e"));
        assert_eq!(tree.mode("d"), 0o750);
        assert_eq!(tree.stat("d").mtime(), fs::metadata(at("d")).unwrap().mtime());
        if options.contains(&"--sparse") {
            assert!(tree.stat("holes").blocks() * 512 < 1 << 20, "no holes: {options:?}");
        }
    }
}

#[test]
fn a_layer_may_be_compressed_in_any_way_and_in_parts() {
    let layer = Tarball::new().file("a", &vec![1; 700_000]).file("b", b"2").end();
    let (first, second) = layer.split_at(300_001);
    let zstd = |bytes: &[u8]| {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.write_all(bytes).unwrap();
        zstd.finish().unwrap()
    };
    let encoded = [
        (Encoding::Plain, layer.clone()),
        (Encoding::Gzip, gzip(&layer)),
        (Encoding::Gzip, [gzip(first), gzip(second)].concat()),
        (Encoding::Zstd, zstd(&layer)),
        (Encoding::Zstd, [zstd(first), zstd(second)].concat()),
    ];
    for (encoding, blob) in encoded {
        assert_eq!(Encoding::of(&blob), encoding);
        let fixture = Fixture::new();
        let ingest = fixture.store.begin().unwrap();
        let digest = put(&ingest, &blob).unwrap();
        let seen = std::sync::atomic::AtomicU64::new(0);
        let progress = |bytes| seen.store(bytes, std::sync::atomic::Ordering::Relaxed);
        let unpacked = ingest.unpack(&digest, &Digest::of(&layer), &progress).unwrap();
        assert_eq!(seen.into_inner(), blob.len() as u64);
        let file = fixture.path("layers").join(unpacked.id).join("a");
        assert!(fs::read(file).unwrap() == vec![1; 700_000]);
    }
}

#[test]
fn several_layers_are_unpacked_at_once() {
    let fixture = Fixture::new();
    let layers: Vec<_> =
        (0..8).map(|number| layer_of(&format!("f{number}"), &vec![number; 2_000_000])).collect();
    let image = {
        let ingest = fixture.store.begin().unwrap();
        let parts = std::thread::scope(|scope| {
            // Each layer twice, at the same time.
            let threads: Vec<_> = layers
                .iter()
                .chain(&layers)
                .map(|layer| scope.spawn(|| crate::fixture::put_layer(&ingest, layer).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let manifest = crate::fixture::put_manifest(&ingest, &parts[..8], "{}").unwrap();
        ingest.finish(&manifest, &[], ebbtide_image::Origin::Loaded, None).unwrap()
    };
    for (layer, number) in image.layers.iter().zip(0u8..) {
        let file = fixture.path("layers").join(&layer.id).join(format!("f{number}"));
        assert!(fs::read(file).unwrap() == vec![number; 2_000_000]);
    }
    assert_eq!(fixture.names_in("tmp"), [""; 0]);
}
