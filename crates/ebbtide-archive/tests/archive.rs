//! Directories come back as they were, and nothing that an enemy writes leaves the destination.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use ebbtide_archive::{ArchiveError, Unpacked, pack, pack_root, unpack};
use tar::{EntryType, Header};

fn open(path: &Path) -> File {
    File::open(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| from.path().join(name);
    let odd = OsStr::from_bytes(b"odd \xff\n*'\"");
    let long = "l".repeat(200);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/file"), vec![7; 100_000]).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(from.path().join(odd), "odd").unwrap();
    fs::create_dir(at(&long)).unwrap();
    fs::write(at(&format!("{long}/{long}")), "long").unwrap();
    symlink("../a/./b", at("a/link")).unwrap();
    symlink(format!("/{long}/{long}"), at("dangling")).unwrap();
    fs::hard_link(at("a/b/file"), at("second name")).unwrap();
    for (name, mode) in [("a/b/file", 0o4751), ("empty", 0o400), ("a", 0o500)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut archive = Vec::new();
    pack(open(from.path()), &mut archive).unwrap();
    let unpacked = unpack(open(to.path()), archive.as_slice()).unwrap();
    assert_eq!((unpacked.bytes, unpacked.skipped), (100_007, 0));
    let back = |name: &str| to.path().join(name);
    assert_eq!(fs::read(back("a/b/file")).unwrap(), vec![7; 100_000]);
    assert_eq!(fs::read(to.path().join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read(back(&format!("{long}/{long}"))).unwrap(), b"long");
    assert_eq!(fs::read_link(back("a/link")).unwrap(), Path::new("../a/./b"));
    assert_eq!(fs::read_link(back("dangling")).unwrap(), Path::new(&format!("/{long}/{long}")));
    assert_eq!(
        fs::metadata(back("second name")).unwrap().ino(),
        fs::metadata(back("a/b/file")).unwrap().ino()
    );
    // Set-user-id means something else for another owner.
    assert_eq!([mode(&back("a/b/file")), mode(&back("empty")), mode(&back("a"))], [0o751, 0o400, 0o500]);
    let changed = |path: &Path| fs::symlink_metadata(path).unwrap().mtime();
    assert_eq!(changed(&back("empty")), changed(&at("empty")));
    // Once more, over itself.
    unpack(open(to.path()), archive.as_slice()).unwrap();
    assert_eq!(fs::read(back("a/b/file")).unwrap().len(), 100_000);
}

/// An archive of one entry, with its name and target as they are.
fn entry(kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o6777);
    header.set_mtime(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name);
    gnu.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Unpacks into a directory beside another one that must stay as it is.
fn attack(parts: &[Vec<u8>]) -> (Result<Unpacked, ArchiveError>, tempfile::TempDir) {
    let around = tempfile::tempdir().unwrap();
    let inside = around.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(around.path().join("secret"), "kept").unwrap();
    symlink(around.path(), inside.join("there-before")).unwrap();
    let archive: Vec<u8> = parts.concat().into_iter().chain([0; 1024]).collect();
    let result = unpack(open(&inside), archive.as_slice());
    let outside: Vec<_> =
        fs::read_dir(around.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "something is outside: {outside:?}");
    assert_eq!(fs::read(around.path().join("secret")).unwrap(), b"kept");
    assert_eq!(fs::metadata(around.path().join("secret")).unwrap().nlink(), 1);
    (result, around)
}

#[test]
fn no_entry_leaves_the_directory() {
    let file = |name: &[u8]| entry(EntryType::Regular, name, b"", b"owned");
    let link = |name: &[u8], target: &[u8]| entry(EntryType::Symlink, name, target, b"");
    let hard = |name: &[u8], target: &[u8]| entry(EntryType::Link, name, target, b"");
    let attacks: &[&[Vec<u8>]] = &[
        &[file(b"../secret")],
        &[file(b"a/../../secret")],
        &[file(b"/tmp/secret-of-ebbtide")],
        &[link(b"out", b".."), file(b"out/secret")],
        &[link(b"out", b".."), link(b"out/more", b"x")],
        &[link(b"out", b".."), entry(EntryType::Directory, b"out/new", b"", b"")],
        &[file(b"there-before/secret")],
        &[hard(b"mine", b"../secret")],
        &[hard(b"mine", b"there-before/secret")],
        &[hard(b"mine", b"there-before")],
        &[link(b"name", b"../secret"), hard(b"mine", b"name")],
        &[entry(EntryType::GNULongName, b"././@LongLink", b"", b"../secret\0"), file(b"harmless")],
        &[entry(EntryType::XHeader, b"x", b"", b"18 path=../secret\n"), file(b"harmless")],
        &[file(b"")],
    ];
    for (number, parts) in attacks.iter().enumerate() {
        let (result, _around) = attack(parts);
        assert!(
            matches!(result, Err(ArchiveError::Refused { .. } | ArchiveError::File { .. })),
            "attack {number}: {result:?}"
        );
    }
}

#[test]
fn a_link_is_replaced_and_never_written_through() {
    let (result, around) = attack(&[
        entry(EntryType::Symlink, b"name", b"../secret", b""),
        entry(EntryType::Regular, b"name", b"", b"new"),
        entry(EntryType::Regular, b"there-before", b"", b"new"),
    ]);
    result.unwrap();
    for name in ["name", "there-before"] {
        let path = around.path().join("inside").join(name);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        // And without what would make it run as somebody else.
        assert_eq!(mode(&path), 0o777);
    }
}

#[test]
fn devices_and_pipes_are_left_out_and_named() {
    let (result, around) = attack(&[
        entry(EntryType::Char, b"null", b"", b""),
        entry(EntryType::Block, b"disk", b"", b""),
        entry(EntryType::Fifo, b"pipe", b"", b""),
        entry(EntryType::Regular, b"file", b"", b"x"),
    ]);
    let unpacked = result.unwrap();
    assert_eq!((unpacked.entries, unpacked.skipped), (1, 3));
    assert_eq!(unpacked.skipped_paths, ["null", "disk", "pipe"].map(Into::<std::path::PathBuf>::into));
    assert!(!around.path().join("inside/pipe").exists());
}

#[test]
fn what_is_no_archive_is_a_typed_error_and_takes_no_memory() {
    let (result, _) = attack(&[b"x".repeat(512)]);
    assert!(matches!(result, Err(ArchiveError::Malformed(_))), "{result:?}");
    // A name of a gigabyte is refused at its beginning.
    let mut endless = entry(EntryType::GNULongName, b"././@LongLink", b"", b"");
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&endless[..512]);
    header.set_size(1 << 30);
    header.set_cksum();
    endless = header.as_bytes().to_vec();
    endless.extend(b"x".repeat(1 << 20));
    let (result, _) = attack(&[endless]);
    assert!(matches!(result, Err(ArchiveError::Malformed(_))), "{result:?}");
    // And one that ends within a file.
    let whole = entry(EntryType::Regular, b"file", b"", &[1; 2000]);
    let to = tempfile::tempdir().unwrap();
    assert!(unpack(open(to.path()), &whole[..1000]).is_err());
}

#[test]
fn a_file_that_shrinks_while_it_is_packed_is_an_error() {
    /// Cuts the file off as soon as something of it has come.
    struct Cutting(File, usize);
    impl std::io::Write for Cutting {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1 += bytes.len();
            // Two headers come before what the file holds.
            if self.1 > 2 * 512 {
                self.0.set_len(0)?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let from = tempfile::tempdir().unwrap();
    let mut file = File::create(from.path().join("shrinks")).unwrap();
    file.write_all(&[1; 100_000]).unwrap();
    let error = pack(open(from.path()), Cutting(file, 0)).unwrap_err();
    assert!(matches!(error, ArchiveError::File { ref path, .. } if path == Path::new("shrinks")), "{error}");
}

#[test]
fn a_pipe_without_a_writer_does_not_hold_the_packer_up() {
    let from = tempfile::tempdir().unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, from.path().join("pipe"), 0o600.into()).unwrap();
    let mut archive = Vec::new();
    pack(open(from.path()), &mut archive).unwrap();
    let to = tempfile::tempdir().unwrap();
    assert_eq!(unpack(open(to.path()), archive.as_slice()).unwrap().skipped, 1);
}

#[test]
fn a_root_keeps_its_owners_and_attributes_and_gives_the_same_bytes_each_time() {
    use rustix::fs::{XattrFlags, setxattr};
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("file");
    fs::write(&file, "content").unwrap();
    fs::create_dir(from.path().join("dir")).unwrap();
    for path in [&file, &from.path().join("dir")] {
        setxattr(path, "user.b", b"two=\0", XattrFlags::empty()).unwrap();
        setxattr(path, "user.a", b"one", XattrFlags::empty()).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(4_000_000), Some(7)).unwrap();
        setxattr(&file, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }
    let stat = fs::metadata(&file).unwrap();
    let packed = || {
        let mut archive = Vec::new();
        pack_root(open(from.path()), &mut archive).unwrap();
        archive
    };
    let bytes = packed();
    assert_eq!(bytes, packed());
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut seen = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let attributes: Vec<(Vec<u8>, Vec<u8>)> =
            entry.pax_extensions().unwrap().map_or_else(Vec::new, |all| {
                let record =
                    |one: tar::PaxExtension<'_>| (one.key_bytes().to_vec(), one.value_bytes().to_vec());
                all.map(|one| record(one.unwrap())).collect()
            });
        let path = entry.path_bytes().into_owned();
        if path != b"." {
            let expected = [("SCHILY.xattr.user.a", &b"one"[..]), ("SCHILY.xattr.user.b", b"two=\0")];
            let expected: Vec<_> =
                expected.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.to_vec())).collect();
            assert_eq!(attributes, expected, "{}", String::from_utf8_lossy(&path));
            seen += 1;
        }
        if path == b"file" {
            let header = entry.header();
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap()),
                (stat.uid().into(), stat.gid().into())
            );
        }
    }
    assert_eq!(seen, 2);
}
