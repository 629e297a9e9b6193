//! What is no image, or a damaged or hostile one, is refused with words that help, and leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ebbtide_tests::image::{Compression, Layer, Meta, TestImage, compressed, hex};
use ebbtide_tests::{Machine, TestHome};
use serde_json::{Value, json};

fn image() -> TestImage {
    let noise: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let layer = |name: &str| Layer::new().file(name, Meta::new(0o644), &noise);
    TestImage::new().layer(layer("one"), Compression::None).layer(layer("two"), Compression::Gzip)
}

/// A home, and beside it a layout in which something can be broken.
struct Scene {
    home: TestHome,
    layout: PathBuf,
}

impl Scene {
    fn new(machine: &Machine, image: &TestImage) -> Self {
        let home = machine.home();
        let layout = home.directory().join("layout");
        image.write(&layout, "docker.io/example/broken:1");
        Self { home, layout }
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.layout.join(path)).unwrap()).unwrap()
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        self.layout.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"))
    }

    fn manifest(&self) -> Value {
        let path = self.blob(&self.json("index.json")["manifests"][0]["digest"]);
        self.json(path.strip_prefix(&self.layout).unwrap().to_str().unwrap())
    }

    /// Writes a document under its digest.
    fn put(&self, document: &Value) -> Value {
        let text = document.to_string();
        let digest = hex(text.as_bytes());
        fs::write(self.layout.join("blobs/sha256").join(&digest), &text).unwrap();
        json!({"digest": format!("sha256:{digest}"), "size": text.len()})
    }

    /// Replaces the manifest, or whatever stands there.
    fn index(&self, change: impl FnOnce(&mut Value)) {
        let mut index = self.json("index.json");
        change(&mut index["manifests"][0]);
        fs::write(self.layout.join("index.json"), index.to_string()).unwrap();
    }

    /// The layout as an archive.
    fn archive(&self) -> Vec<u8> {
        let archive = self.home.directory().join("layout.tar");
        let status = std::process::Command::new("tar")
            .arg("-C")
            .arg(&self.layout)
            .arg("-cf")
            .arg(&archive)
            .args(["oci-layout", "index.json", "blobs"])
            .status();
        assert!(status.unwrap().success());
        fs::read(archive).unwrap()
    }

    fn refused_layout(&self, words: &[&str]) {
        refused(&self.home, &[self.layout.to_str().unwrap()], words);
    }

    fn refused_archive(&self, bytes: &[u8], words: &[&str]) {
        let file = self.home.directory().join("broken");
        fs::write(&file, bytes).unwrap();
        refused(&self.home, &[file.to_str().unwrap(), "a/name"], words);
    }
}

/// Refused with these words, and the store is as if it had never been asked.
#[track_caller]
fn refused(home: &TestHome, args: &[&str], words: &[&str]) {
    let args = ["image", "load"].into_iter().chain(args.iter().copied());
    let output = home.ebb(args).run().exited(125);
    let error = output.error();
    for word in words {
        assert!(error.contains(word), "nothing of {word:?} in: {error}");
    }
    let images = home.state_dir().join("images");
    for (directory, kept) in [("blobs/sha256", 0), ("images", 0), ("names", 0), ("tmp", 0), ("layers", 2)] {
        let left: Vec<_> =
            fs::read_dir(images.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), kept, "after {error}: {left:?}");
    }
}

#[test]
fn what_is_no_archive_is_told_from_what_is_a_broken_one() {
    let machine = Machine::take();
    let scene = Scene::new(&machine, &image());
    let archive = scene.archive();
    let gzip = compressed(&archive, Compression::Gzip);
    let zstd = compressed(&archive, Compression::Zstd);
    let cases: [(&[u8], &[&str]); 11] = [
        (b"", &["empty", "OCI layout"]),
        (b"hello", &["no archive", "OCI layout"]),
        (&[b'x'; 4096], &["no archive"]),
        (&[0; 10_240], &["holds nothing"]),
        (b"\xfd7zXZ\0 and more", &["xz -d"]),
        (&archive[..archive.len() / 2], &["ends within"]),
        (&archive[..archive.len() / 2 / 512 * 512 - 100], &["ends within"]),
        (&gzip[..gzip.len() / 2], &["cannot read"]),
        (&zstd[..zstd.len() / 2], &["cannot read"]),
        (&[&archive[..512 + 512], &[b'x'; 4096]].concat(), &["damaged"]),
        (&compressed(b"hello", Compression::Gzip), &["no archive"]),
    ];
    for (bytes, words) in cases {
        scene.refused_archive(bytes, words);
    }
    let home = &scene.home;
    refused(home, &["/no/such/file"], &["/no/such/file", "No such file"]);
    refused(home, &["/etc"], &["no OCI layout", "--from-rootfs"]);
    refused(home, &["--from-rootfs", "/etc/passwd", "a/name"], &["/etc/passwd"]);
    refused(home, &["--from-tar", "/etc/passwd", "a/name"], &["/etc/passwd", "no archive"]);
    refused(home, &["/etc/passwd", "host"], &["host"]);
    refused(home, &["/etc/passwd", "UPPER CASE"], &["UPPER CASE"]);
}

#[test]
fn content_that_is_not_what_its_digest_says_is_refused() {
    let machine = Machine::take();
    for which in ["layers", "config", "manifest"] {
        let scene = Scene::new(&machine, &image());
        let manifest = scene.manifest();
        let digest = match which {
            "layers" => manifest["layers"][1]["digest"].clone(),
            "config" => manifest["config"]["digest"].clone(),
            _ => scene.json("index.json")["manifests"][0]["digest"].clone(),
        };
        let path = scene.blob(&digest);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        scene.refused_layout(&["digest"]);
        scene.refused_archive(&scene.archive(), &["digest"]);
        fs::remove_file(&path).unwrap();
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
        scene.refused_layout(&["incomplete", hex]);
        scene.refused_archive(&scene.archive(), &["incomplete", hex]);
    }
    // A configuration that promises another tree.
    let scene = Scene::new(&machine, &image());
    let mut manifest = scene.manifest();
    let path = scene.blob(&manifest["config"]["digest"]);
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config["rootfs"]["diff_ids"][1] = json!(format!("sha256:{}", hex(b"another")));
    let named = scene.put(&config);
    manifest["config"]["digest"] = named["digest"].clone();
    manifest["config"]["size"] = named["size"].clone();
    let named = scene.put(&manifest);
    scene.index(|entry| entry["digest"] = named["digest"].clone());
    scene.refused_layout(&["digest", &hex(b"another")]);
    // And one with another number of layers.
    config["rootfs"]["diff_ids"] = json!([]);
    let named = scene.put(&config);
    manifest["config"]["digest"] = named["digest"].clone();
    let named = scene.put(&manifest);
    scene.index(|entry| entry["digest"] = named["digest"].clone());
    scene.refused_layout(&["2 layers"]);
}

#[test]
fn an_image_for_other_machines_or_without_a_name_is_told_so() {
    let machine = Machine::take();
    let scene = Scene::new(&machine, &image());
    scene.index(|entry| entry["platform"] = json!({"os": "linux", "architecture": "s390x"}));
    scene.refused_layout(&["linux/s390x", "linux/"]);
    scene.index(|entry| {
        entry.as_object_mut().unwrap().remove("platform");
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    });
    scene.refused_layout(&["give it a name", "NAME"]);
    let index = scene.json("index.json");
    let entry = &index["manifests"][0];
    let other = scene.put(&json!({"schemaVersion": 2, "manifests": [entry]}));
    let other = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": other["digest"],
        "size": other["size"]});
    let mut manifest = scene.manifest();
    manifest["annotations"] = json!({"another": "one"});
    let mut second = scene.put(&manifest);
    second["mediaType"] = entry["mediaType"].clone();
    let both = json!({"schemaVersion": 2, "manifests": [other, second]});
    fs::write(scene.layout.join("index.json"), both.to_string()).unwrap();
    let layout = scene.layout.to_str().unwrap();
    refused(&scene.home, &[layout, "a/name"], &["2 images"]);
    fs::write(scene.layout.join("index.json"), r#"{"schemaVersion": 2, "manifests": []}"#).unwrap();
    scene.refused_layout(&["names no image"]);
    fs::write(scene.layout.join("index.json"), "{").unwrap();
    scene.refused_layout(&["index.json"]);
    fs::write(scene.layout.join("index.json"), vec![b' '; 9 << 20]).unwrap();
    scene.refused_layout(&["index.json", "larger"]);
}

#[test]
fn no_name_in_an_archive_leads_out_of_it() {
    let machine = Machine::take();
    let scene = Scene::new(&machine, &image());
    let secret = scene.home.directory().join("secret");
    fs::write(&secret, "kept").unwrap();
    let config = json!({"architecture": ebbtide_tests::image::architecture(), "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(b"kept"))]}})
    .to_string();
    let file = |layer: Layer, name: &str, content: &str| layer.file(name, Meta::new(0o644), content);
    let docker = |layer: &str, config_path: &str| {
        let manifest = json!([{"Config": config_path, "RepoTags": ["a/b:1"], "Layers": [layer]}]);
        file(file(Layer::new(), "manifest.json", &manifest.to_string()), "config.json", &config)
    };
    let absolute = secret.to_str().unwrap();
    for layer in [absolute, "../secret", "a/../../secret"] {
        scene.refused_archive(&docker(layer, "config.json").tar(), &["incomplete", layer]);
        scene.refused_archive(&docker("layer.tar", layer).tar(), &["incomplete", layer]);
        let linked = docker("layer.tar", "config.json").symlink("layer.tar", layer);
        scene.refused_archive(&linked.tar(), &["incomplete", "layer.tar"]);
    }
    let stray = file(docker("layer.tar", "config.json"), "../../stray", "out");
    scene.refused_archive(&stray.tar(), &["stray", "leads out"]);
    let circle =
        docker("layer.tar", "config.json").symlink("layer.tar", "other").symlink("other", "layer.tar");
    scene.refused_archive(&circle.tar(), &["incomplete", "layer.tar"]);
    // A layout in a directory, with a link where a blob should be.
    let manifest = scene.manifest();
    let blob = scene.blob(&manifest["layers"][0]["digest"]);
    fs::rename(&blob, scene.home.directory().join("moved")).unwrap();
    symlink("../../../moved", &blob).unwrap();
    scene.refused_layout(&["incomplete"]);
    // And layers that lead out themselves.
    for (number, layer) in [
        file(Layer::new(), "../escaped", "out"),
        file(Layer::new().symlink("way", ".."), "way/escaped", "out"),
        Layer::new().hard_link("mine", "../../secret"),
    ]
    .into_iter()
    .enumerate()
    {
        let archive = layer.clone().tar();
        let refused_or_harmless = scene.home.directory().join("hostile.tar");
        fs::write(&refused_or_harmless, archive).unwrap();
        let path = refused_or_harmless.to_str().unwrap();
        let _ = scene.home.ebb(["image", "load", "--from-tar", path, "a/hostile"]).run();
        let _ = scene.home.ebb(["image", "rm", "--missing-ok", "a/hostile"]).run().exited(0);
        for place in [scene.home.directory(), &scene.home.state_dir(), Path::new("/"), Path::new("/tmp")] {
            assert!(!place.join("escaped").exists(), "{number}: {}", place.display());
        }
    }
    assert_eq!(fs::read(&secret).unwrap(), b"kept");
}
