//! Images come in and go out as files, and stay what they are: against skopeo and umoci, which know nothing of Ebbtide.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ebbtide_image::{ImageName, Limits, Store};
use ebbtide_tests::image::{Compression, Layer, Meta, TestImage, Written};
use ebbtide_tests::{Machine, TestHome, tree};
use serde_json::{Value, json};
use tar::EntryType;

const NAME: &str = "example/formats:1";

/// Three layers with everything that a layer may hold.
fn image(compressions: [Compression; 3]) -> TestImage {
    let (dir, file) = (|| Meta::new(0o755), || Meta::new(0o644));
    let long = "long-".repeat(40);
    let deep = (0..12).map(|level| format!("{level}-{}", "deep".repeat(10))).collect::<Vec<_>>().join("/");
    // What a capability looks like, with a line feed in it.
    let capability = [1, 0, 0, 2, 0, 4, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut bottom = Layer::new()
        .dir("./", dir().at(1_111_111_111))
        .dir("bin/", dir())
        .file("bin/su", Meta::new(0o4755), "#!/bin/sh\n")
        .file("bin/group", Meta::new(0o2755).of(0, 42), "set-group-id")
        .file("bin/ping", Meta::new(0o755).xattr("security.capability", &capability), "may ping")
        .dir("etc/", dir())
        .file("etc/removed", file(), "a later layer takes it away")
        .file("etc/replaced", file().of(1, 2), "old")
        .file("etc/kept", Meta::new(0o600).of(1000, 1001).at(5), "kept")
        .dir("etc/gone/", dir())
        .file("etc/gone/inside", file(), "goes with it")
        .dir("tmp/", Meta::new(0o1777))
        .dir("var/", dir().of(65_534, 65_534).xattr("user.of", b"a directory"))
        .dir("var/opaque/", dir())
        .file("var/opaque/below", file(), "hidden")
        .dir("var/opaque/under/", dir())
        .file("var/opaque/under/it", file(), "hidden")
        .file("var/empty", file(), "")
        .file("var/big", file(), (0..3_000_000_u32).map(|byte| (byte / 7) as u8).collect::<Vec<_>>())
        .file(
            "var/attributes",
            file().xattr("user.one", b"1").xattr("user.two", b"a\n\0=b"),
            "with attributes",
        )
        .file("var/high", file().of(4_000_000, 3_000_000), "a large owner")
        .file("var/linked", file(), "three names")
        .hard_link("var/linked too", "var/linked")
        .dir("var/links/", dir())
        .hard_link("var/links/third", "var/linked")
        .symlink("var/absolute", "/etc/kept")
        .symlink("var/relative", "../etc/./kept")
        .symlink("var/dangling", format!("/{long}/{long}"))
        .symlink("var/out", "../../../../../../etc/passwd")
        .file(b"var/odd \xff\n'\"*", file(), "an odd name")
        .file(format!("var/{long}"), file(), "a long name")
        .symlink(format!("var/{long}-link"), &long)
        .entry(EntryType::Fifo, "var/pipe", "", Meta::new(0o640).of(3, 4), "");
    let mut path = String::from("var");
    for part in deep.split('/') {
        path = format!("{path}/{part}");
        bottom = bottom.dir(format!("{path}/"), Meta::new(0o750));
    }
    let bottom = bottom.file(format!("{path}/file"), file(), "deep");
    let middle = Layer::new()
        .dir("etc/", dir().at(1_200_000_000))
        .whiteout("etc/removed")
        .whiteout("etc/gone")
        .dir("etc/replaced/", Meta::new(0o700).at(1_200_000_000))
        .file("etc/replaced/now", file(), "a directory")
        .dir("var/", dir().of(65_534, 65_534).xattr("user.of", b"a directory"))
        .dir("var/opaque/", Meta::new(0o711).of(5, 5))
        .opaque("var/opaque")
        .file("var/opaque/above", file(), "shown")
        .file("var/empty", Meta::new(0o666), "not any more")
        .file("new", file(), "new")
        .hard_link("new too", "new");
    let top = Layer::new()
        .dir("etc/", dir().at(1_300_000_000))
        .file("etc/removed", file(), "and back again")
        .whiteout("var/relative")
        .dir("var/", dir().of(65_534, 65_534).xattr("user.of", b"a directory").at(1_300_000_000))
        .file("var/opaque/below", file(), "another one")
        .dir("var/links/", dir().at(1_300_000_000))
        .file("var/links/third", file(), "its own");
    // An opaque directory is named again by whoever adds to it, as tools do.
    let top = top.dir("var/opaque/", Meta::new(0o711).of(5, 5));
    let config = json!({
        "Entrypoint": ["/bin/su"], "Cmd": ["-c", "id"], "Env": ["PATH=/bin", "LANG=C.UTF-8"], "WorkingDir": "/var",
        "User": "1000:1001", "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/var/data": {}},
        "Labels": {"of": "a test"},
    });
    let [first, second, third] = compressions;
    TestImage::new().config(config).layer(bottom, first).layer(middle, second).layer(top, third)
}

const GZIP: [Compression; 3] = [Compression::Gzip; 3];

/// The image as an OCI layout in a directory of the test's own.
fn layout(home: &TestHome) -> (PathBuf, Written) {
    let directory = home.directory().join("layout");
    let written = image(GZIP).write(&directory, "formats");
    (directory, written)
}

#[track_caller]
fn tool(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

#[track_caller]
fn skopeo(from: &str, to: &str) {
    tool("skopeo", &["copy", "--quiet", "--insecure-policy", from, to]);
}

#[track_caller]
fn load(home: &TestHome, args: &[&str]) -> Value {
    let json = home.ebb(["image", "load", "--json"].into_iter().chain(args.iter().copied())).run().json();
    let images = json["images"].as_array().unwrap();
    assert_eq!(images.len(), 1, "{json}");
    images[0].clone()
}

fn diff_ids(image: &Value) -> Vec<String> {
    let layers = image["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["diff_id"].as_str().unwrap().to_owned()).collect()
}

fn store(home: &TestHome) -> Store {
    Store::open(home.state_dir().join("images"), Limits::default()).unwrap()
}

/// What a sandbox of the image would see, without what the runtime puts around it.
fn merged(home: &TestHome, name: &str) -> std::collections::BTreeMap<PathBuf, tree::Node> {
    /// Unmounted whatever happens.
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let store = store(home);
    let image = store.find(&name.parse::<ImageName>().unwrap()).unwrap().unwrap();
    let held = store.hold(image).unwrap().unwrap();
    let names = held.layer_names();
    // The first and the last are the runtime's; overlayfs has the top first.
    let lower: Vec<String> = names[1..names.len() - 1]
        .iter()
        .rev()
        .map(|layer| held.store_dir().join(layer).display().to_string())
        .collect();
    let target = home.directory().join("merged");
    fs::create_dir_all(&target).unwrap();
    let options = format!("ro,lowerdir={}", lower.join(":"));
    tool("mount", &["-t", "overlay", "overlay", "-o", &options, &target.display().to_string()]);
    let mounted = Mounted(target);
    tree::read(&mounted.0)
}

#[test]
fn an_image_is_the_same_down_to_each_file_from_whatever_it_is_loaded() {
    let machine = Machine::take();
    let home = machine.home();
    let (directory, written) = layout(&home);
    let at = |name: &str| home.directory().join(name).display().to_string();
    let layout = format!("oci:{}:formats", directory.display());
    skopeo(&layout, &format!("docker-archive:{}:{NAME}", at("docker.tar")));
    skopeo(&layout, &format!("oci-archive:{}:{NAME}", at("oci.tar")));
    tool("umoci", &["unpack", "--image", &format!("{}:formats", directory.display()), &at("bundle")]);
    let expected = tree::read(&home.directory().join("bundle/rootfs"));
    assert!(expected.len() > 40);

    // Each in a store of its own: a layer is unpacked only once in one.
    let from_layout = load(&home, &[&directory.display().to_string(), "own/name"]);
    assert_eq!(from_layout["digest"], written.digest);
    assert_eq!(from_layout["names"], json!(["own/name:latest"]));
    assert_eq!(diff_ids(&from_layout), written.diff_ids);
    tree::assert_same(&merged(&home, "own/name"), &expected);
    for archive in ["oci.tar", "docker.tar"] {
        let other = machine.home();
        let loaded = load(&other, &[&at(archive)]);
        assert_eq!(loaded["names"], json!([NAME]), "{archive}");
        assert_eq!(diff_ids(&loaded), written.diff_ids, "{archive}");
        assert_eq!(loaded["config"], from_layout["config"], "{archive}");
        tree::assert_same(&merged(&other, NAME), &expected);
        if archive == "oci.tar" {
            assert_eq!(loaded["digest"], written.digest);
        } else {
            // In the store where the layers are already there is nothing to unpack.
            let again = load(&home, &[&at(archive)]);
            assert_eq!(again["digest"], loaded["digest"]);
        }
    }
}

#[test]
fn how_layers_and_archives_are_compressed_changes_nothing_inside() {
    let machine = Machine::take();
    let home = machine.home();
    let (directory, written) = layout(&home);
    load(&home, &[&directory.display().to_string(), NAME]);
    let expected = merged(&home, NAME);
    let other = machine.home();
    let zstd = other.directory().join("zstd");
    let compressions = [Compression::Zstd, Compression::None, Compression::Zstd];
    let also = image(compressions).write(&zstd, NAME);
    assert_eq!(also.diff_ids, written.diff_ids);
    let archive = other.directory().join("archive.tar");
    tool("tar", &["-C", &zstd.display().to_string(), "-cf", &archive.display().to_string(), "."]);
    let bytes = fs::read(&archive).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let file = other.directory().join("compressed");
        fs::write(&file, ebbtide_tests::image::compressed(&bytes, compression)).unwrap();
        let loaded = load(&other, &[&file.display().to_string()]);
        assert_eq!(loaded["digest"], also.digest, "{compression:?}");
        // And as it comes through a pipe.
        let piped = other.ebb(["image", "load", "--json", "-"]).stdin(fs::read(&file).unwrap()).run().json();
        assert_eq!(piped["images"][0], loaded, "{compression:?}");
    }
    tree::assert_same(&merged(&other, NAME), &expected);
}

#[test]
fn what_is_saved_is_loaded_as_what_it_was_and_others_can_read_it() {
    let machine = Machine::take();
    let home = machine.home();
    let (directory, written) = layout(&home);
    load(&home, &[&directory.display().to_string(), NAME]);
    let at = |name: &str| home.directory().join(name).display().to_string();
    for (format, transport, file) in [
        ("oci", "oci-archive", "saved.tar"),
        ("oci-dir", "oci", "saved"),
        ("docker", "docker-archive", "docker.tar"),
    ] {
        let save = ["image", "save", "--json", "--format", format, NAME, "--output", &at(file)];
        let saved = home.ebb(save).run().json();
        assert_eq!((&saved["digest"], &saved["format"]), (&json!(written.digest), &json!(format)));
        let copy = at(&format!("{format}-copy"));
        skopeo(&format!("{transport}:{}", at(file)), &format!("oci:{copy}:copy"));
        let back = machine.home();
        let loaded = load(&back, &[&at(file)]);
        assert_eq!(loaded["names"], json!([NAME]), "{format}");
        assert_eq!(diff_ids(&loaded), written.diff_ids, "{format}");
        if format != "docker" {
            assert_eq!(loaded["digest"], written.digest, "{format}");
        }
        tree::assert_same(&merged(&back, NAME), &merged(&home, NAME));
    }
    // The same bytes again, also on standard output; a directory that is in use is not touched.
    let stdout = home.ebb(["image", "save", NAME, "-o", "-"]).run().exited(0);
    assert!(stdout.stdout == fs::read(at("saved.tar")).unwrap(), "two archives of one image differ");
    let full = home.ebb(["image", "save", "--format", "oci-dir", NAME, "-o", &at("saved")]).run().exited(125);
    assert!(full.error().contains("saved"), "{}", full.error());
    let left: Vec<_> =
        fs::read_dir(home.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("ebb-save")), "{left:?}");
}
