//! The images of a home as its user sees them: listed, shown, named, taken away, collected.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_image::{Limits, Store};
use ebbtide_tests::image::{Compression, Layer, Meta, TestImage, hex};
use ebbtide_tests::{Machine, TestHome, eventually, tree};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::{Value, json};

/// Loads an image with one file, under this name.
fn load(home: &TestHome, name: &str, content: &str) -> Value {
    let directory = home.directory().join(format!("layout-{}", hex(name.as_bytes())));
    let layer = Layer::new().file("file", Meta::new(0o644), content);
    let config = json!({"Cmd": ["/file"], "Env": ["A=1"], "Labels": {"of": "a test"}});
    TestImage::new().config(config).layer(layer, Compression::Gzip).write(&directory, "any");
    let loaded = home.ebb(["image", "load", "--json", directory.to_str().unwrap(), name]).run().json();
    fs::remove_dir_all(directory).unwrap();
    loaded["images"][0].clone()
}

fn images(home: &TestHome) -> Vec<Value> {
    home.ebb(["image", "list", "--json"]).run().json()["images"].as_array().unwrap().clone()
}

fn store(home: &TestHome) -> Store {
    Store::open(home.state_dir().join("images"), Limits::default()).unwrap()
}

#[test]
fn what_is_here_is_listed_and_shown_in_a_shape_that_stays() {
    let machine = Machine::take();
    let home = machine.home();
    assert_eq!(images(&home), Vec::<Value>::new());
    let loaded = load(&home, "some/image:2", "content");
    assert_eq!(images(&home), std::slice::from_ref(&loaded));
    let shown = home.ebb(["image", "inspect", "--json", "docker.io/some/image:2"]).run().json();
    assert_eq!(shown, loaded);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&shown),
        "bytes config created_at digest last_used_at layers names origin platform private"
    );
    assert_eq!(keys(&shown["layers"][0]), "bytes diff_id digest");
    assert_eq!(
        keys(&shown["config"]),
        "cmd entrypoint env exposed_ports labels stop_signal user volumes working_dir"
    );
    assert_eq!((&shown["origin"], &shown["private"]), (&json!("loaded"), &json!(false)));
    assert_eq!(shown["created_at"], "2001-09-09T01:46:40Z");
    assert_eq!(shown["config"]["env"], json!(["A=1"]));
    let table = home.ebb(["image", "list"]).run().ok();
    let short = &shown["digest"].as_str().unwrap()["sha256:".len()..][..12];
    for word in ["NAME", "some/image:2", short, "loaded"] {
        assert!(table.contains(word), "no {word} in {table}");
    }
    let text = home.ebb(["image", "inspect", "some/image:2"]).run().ok();
    assert!(text.contains("platform") && text.contains("A=1") && text.contains("/file"), "{text}");
    let missing = home.ebb(["image", "inspect", "some/image:3"]).run().exited(125);
    assert!(missing.error().contains("some/image:3") && missing.error().contains("ebb image list"));
    let remote = home.ebb(["image", "list"]).env("EBBTIDE_URL", "http://127.0.0.1:1").run().exited(125);
    assert!(remote.error().contains("EBBTIDE_URL"), "{}", remote.error());
    for verb in ["load", "save", "list", "inspect", "rm", "gc", "alias"] {
        let help = home.ebb(["image", verb, "--help"]).run().ok();
        assert!(help.contains(&format!("  ebb image {verb}")), "{verb} has no example");
    }
}

#[test]
fn an_image_goes_with_its_last_name_unless_it_is_in_use() {
    let machine = Machine::take();
    let home = machine.home();
    let image = load(&home, "used:1", "used");
    assert_eq!(load(&home, "used:also", "used")["digest"], image["digest"]);
    load(&home, "unused:1", "unused");
    let store = store(&home);
    let held = store.hold(store.find(&"used:1".parse().unwrap()).unwrap().unwrap()).unwrap().unwrap();

    let first = home.ebb(["image", "rm", "--json", "used:1"]).run().json();
    assert_eq!(
        first["images"],
        json!([{"name": "used:1", "outcome": "removed", "digest": image["digest"], "in_use": false, "error": null}])
    );
    let rest =
        home.ebb(["image", "rm", "--json", "unused:1", "used:also", "gone:1"]).run().exited_with_json(1);
    let field = |name: &str| -> Vec<Value> {
        rest["images"].as_array().unwrap().iter().map(|image| image[name].clone()).collect()
    };
    assert_eq!(field("outcome"), ["removed", "removed", "failed"]);
    assert_eq!(field("in_use"), [false, true, false]);
    assert_eq!(images(&home).len(), 1, "what is in use stays");
    assert_eq!(images(&home)[0]["names"], json!([]));
    let dry = home.ebb(["image", "gc", "--json"]).run().json();
    assert_eq!((&dry["images"], &dry["bytes"]), (&json!([]), &json!(0)), "and is not collected");
    drop(held);
    let would = home.ebb(["image", "gc", "--json", "--dry-run"]).run().json();
    assert_eq!((&would["dry_run"], would["images"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(images(&home).len(), 1);
    let done = home.ebb(["image", "gc", "--json"]).run().json();
    assert_eq!((&done["dry_run"], &done["bytes"]), (&json!(false), &would["bytes"]));
    assert!(done["bytes"].as_u64().unwrap() > 0);
    assert_eq!(images(&home), Vec::<Value>::new());
    assert_eq!(fs::read_dir(home.state_dir().join("images/blobs/sha256")).unwrap().count(), 0);

    let missing = home.ebb(["image", "rm", "used:1"]).run().exited(125);
    assert!(missing.error().contains("no image used:1"), "{}", missing.error());
    let _ = home.ebb(["image", "rm", "--missing-ok", "used:1"]).run().exited(0);
}

#[test]
fn what_was_loaded_and_has_a_name_is_never_collected() {
    let machine = Machine::take();
    let home = machine.home();
    load(&home, "kept:1", "old");
    let new = load(&home, "kept:1", "new");
    assert_eq!(images(&home).len(), 2, "the one that lost its name is still there");
    for args in [&["--all"][..], &["--max-bytes", "0"], &["--max-bytes", "1Ki"]] {
        let _ = home.ebb(["image", "gc"].into_iter().chain(args.iter().copied())).run().exited(0);
    }
    assert_eq!(images(&home), [new]);
    for wrong in [&["--max-bytes", "lots"][..], &["--all", "--max-bytes", "1Gi"]] {
        let _ = home.ebb(["image", "gc"].into_iter().chain(wrong.iter().copied())).run().exited(2);
    }
}

/// A directory with what a root file system has.
fn root(directory: &Path) {
    fs::create_dir_all(directory.join("bin")).unwrap();
    fs::write(directory.join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(directory.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(directory.join("owned"), "owned").unwrap();
    chown(directory.join("owned"), Some(1000), Some(70_000)).unwrap();
    setxattr(directory.join("owned"), "user.of", b"a test", XattrFlags::empty()).unwrap();
    fs::hard_link(directory.join("owned"), directory.join("also")).unwrap();
    symlink("../../../../owned", directory.join("bin/link")).unwrap();
    fs::write(directory.join("x".repeat(200)), "long").unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The one layer of an image, as it lies in the store.
fn layer(home: &TestHome, name: &str) -> std::collections::BTreeMap<std::path::PathBuf, tree::Node> {
    let store = store(home);
    let image = store.find(&name.parse().unwrap()).unwrap().unwrap();
    let held = store.hold(image).unwrap().unwrap();
    tree::read(&held.store_dir().join(&held.layer_names()[1]))
}

#[test]
fn a_root_file_system_becomes_an_image_as_it_is() {
    let machine = Machine::take();
    // The disk behind it has to know extended attributes of users.
    let home = machine.home();
    let directory = home.directory().join("root");
    root(&directory);
    let path = directory.to_str().unwrap();
    let how =
        ["--entrypoint", "/bin/tool", "--cmd", "-v", "--cmd", "x y", "--env", "A=b=c", "--workdir", "/bin"];
    let from = ["image", "load", "--json", "--user", "1000:70000", "--from-rootfs", path, "mine:1"];
    let loaded = home.ebb(from.into_iter().chain(how)).run().json()["images"][0].clone();
    assert_eq!(loaded["names"], json!(["mine:1"]));
    let config = &loaded["config"];
    assert_eq!((&config["entrypoint"], &config["cmd"]), (&json!(["/bin/tool"]), &json!(["-v", "x y"])));
    assert_eq!((&config["env"], &config["working_dir"]), (&json!(["A=b=c"]), &json!("/bin")));
    assert_eq!(config["user"], "1000:70000");
    let expected = tree::read(&directory);
    tree::assert_same(&layer(&home, "mine:1"), &expected);
    // The same files are the same image.
    let again = home.ebb(from.into_iter().chain(how)).run().json()["images"][0].clone();
    assert_eq!(again["digest"], loaded["digest"]);

    let tar = home.directory().join("root.tar");
    let args = ["--xattrs", "--numeric-owner", "-C", path, "-cf", tar.to_str().unwrap(), "."];
    assert!(Command::new("tar").args(args).status().unwrap().success());
    let other = machine.home();
    for args in [&["--from-tar", tar.to_str().unwrap(), "tar:1"][..], &[tar.to_str().unwrap(), "tar:1"]] {
        let _ = other.ebb(["image", "load"].into_iter().chain(args.iter().copied())).run().exited(0);
        tree::assert_same(&layer(&other, "tar:1"), &expected);
    }
    for wrong in
        [&["--from-rootfs", path][..], &["--from-tar", path, "a", "b"], &["--cmd", "sh", path, "a:1"], &[]]
    {
        let _ = other.ebb(["image", "load"].into_iter().chain(wrong.iter().copied())).run().exited(2);
    }
}

#[test]
fn an_old_archive_of_several_images_is_loaded_with_all_their_names() {
    let machine = Machine::take();
    let home = machine.home();
    let layer = |content: &str| Layer::new().file("file", Meta::new(0o644), content).tar();
    let (shared, own) = (layer("shared"), layer("own"));
    let config = |layers: &[&[u8]]| {
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
        let architecture = ebbtide_tests::image::architecture();
        json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string()
    };
    let manifest = json!([
        {"Config": "one.json", "RepoTags": ["one:1", "one:latest"], "Layers": ["a/layer.tar"]},
        {"Config": "two.json", "RepoTags": ["localhost:5000/two:2"], "Layers": ["b/layer.tar", "./c/layer.tar"]},
    ]);
    let file = || Meta::new(0o644);
    let archive = Layer::new()
        .dir("a/", Meta::new(0o755))
        .file("a/layer.tar", file(), &shared)
        .symlink("b/layer.tar", "../a/layer.tar")
        .file("c/layer.tar", file(), &own)
        .file("one.json", file(), config(&[&shared]))
        .file("two.json", file(), config(&[&shared, &own]))
        .file("manifest.json", file(), manifest.to_string())
        .file("repositories", file(), "{}");
    let mut child = home.ebb(["image", "load", "-"]).stdin(archive.tar()).run().ok();
    child.push('\n');
    assert_eq!(child, "one:1\none:latest\nlocalhost:5000/two:2\n");
    let two = home.ebb(["image", "inspect", "--json", "localhost:5000/two:2"]).run().json();
    let digests: Vec<&Value> =
        two["layers"].as_array().unwrap().iter().map(|layer| &layer["diff_id"]).collect();
    assert_eq!(
        digests,
        [&json!(format!("sha256:{}", hex(&shared))), &json!(format!("sha256:{}", hex(&own)))]
    );
}

#[test]
fn a_load_that_is_killed_leaves_nothing_and_a_second_one_works_beside_the_daemon() {
    let machine = Machine::take();
    let home = machine.home();
    home.create(&[]);
    let tmp = home.state_dir().join("images/tmp");
    let load_it = home.ebb(["image", "load", "--from-tar", "-", "killed:1"]).stdin_from(Stdio::piped());
    let mut killed = load_it.beside(Stdio::null(), Stdio::null());
    let mut stdin = killed.stdin();
    // More than a pipe holds: when it is taken the load has begun to keep it.
    stdin.write_all(&vec![b'x'; 4 << 20]).unwrap();
    killed.kill();
    eventually("nothing is left of it", Duration::from_secs(10), || {
        let left = fs::read_dir(&tmp).map_or(0, |entries| entries.count());
        (left == 0 && images(&home).is_empty()).then_some(())
    });
    let loaded = load(&home, "second:1", "content");
    assert_eq!(images(&home), [loaded]);
    assert!(home.daemon().is_some());
}
