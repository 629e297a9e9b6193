//! What a name stands for.

use ebbtide_tests::Machine;
use serde_json::{Value, json};

use crate::world::{load, marker, reach, system};

#[test]
fn a_loaded_image_runs_by_its_name_in_short_and_in_full() {
    let machine = Machine::take();
    let home = machine.home();
    load(&home, &system("loaded", json!({})), "example/app:1");
    for name in ["example/app:1", "docker.io/example/app:1", "index.docker.io/example/app:1"] {
        assert_eq!(marker(&home, name), "loaded", "{name}");
    }
    // What is the host's stays the host's, and nothing of it is in an image.
    let python = home.ebb(["run", "--", "sh", "-c", "command -v python3"]).run().ok();
    assert!(python.ends_with("python3"));
    let _ = home.ebb(["run", "--image", "example/app:1", "--", "python3"]).run().exited(127);
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn an_image_that_is_here_goes_before_an_alias_and_an_alias_before_any_registry() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[images.alias]\n\"python:3.11\" = \"example/base:1\"\n");
    load(&home, &system("base", json!({})), "example/base:1");
    assert_eq!(marker(&home, "python:3.11"), "base");
    assert_eq!(
        marker(&home, "docker.io/library/python:3.11"),
        "base",
        "an alias is for every form of its name"
    );
    load(&home, &system("python", json!({})), "python:3.11");
    assert_eq!(marker(&home, "python:3.11"), "python");
    // `host` is nobody else's name.
    home.ebb(["image", "alias", "node:20", "host"]).run().ok();
    assert!(home.ebb(["run", "--image", "node:20", "--", "python3", "-c", "print(1)"]).run().ok() == "1");
    let _ = home.ebb(["run", "--image", "host", "--", "cat", "/etc/marker"]).run().exited(1);
}

#[test]
fn a_digest_pins_an_image_and_is_shown() {
    let machine = Machine::take();
    let home = machine.home();
    let first = load(&home, &system("first", json!({})), "example/app:1");
    let pinned = format!("example/app@{}", first.digest);
    let id = home.create(&["--image", &pinned]);
    assert_eq!(home.get(&id)["image_digest"], first.digest.as_str());
    let second = load(&home, &system("second", json!({})), "example/app:1");
    assert_eq!(marker(&home, "example/app:1"), "second");
    assert_eq!(marker(&home, &pinned), "first");
    assert_eq!(home.exec(&id, "cat /etc/marker").run().ok(), "first");
    // Also for the next daemon.
    home.kill_daemon();
    assert_eq!(home.get(&id)["image_digest"], first.digest.as_str());
    assert_ne!(first.digest, second.digest);
    let host = home.create(&[]);
    assert!(home.get(&host)["image_digest"].is_null());
}

#[test]
fn what_is_no_name_is_refused_before_anything_is_recorded() {
    let machine = Machine::take();
    let home = machine.home();
    for (name, word) in
        [("Python", "capital"), ("a b", "image"), ("x@sha256:12", "image"), ("a:b:c", "image")]
    {
        let refused = home.ebb(["run", "--json", "--image", name, "--", "true"]).run().exited(125);
        let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
        assert_eq!(error["error"]["reason"], "CWSANDBOX_INVALID_REQUEST", "{error}");
        assert_eq!(error["error"]["fields"][0]["field"], "spec.containers[0].image", "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(home.ebb(["list", "--all", "--json"]).run().json()["sandboxes"], json!([]));
}

#[test]
fn a_store_that_cannot_be_used_fails_sandboxes_on_images_and_no_others() {
    let machine = Machine::take();
    let home = machine.home();
    home.ebb(["run", "--", "true"]).run().ok();
    std::fs::write(home.state_dir().join("images"), "no directory").unwrap();
    home.ebb(["run", "--", "true"]).run().ok();
    let id = home.create(&["--no-wait", "--image", "example/app:1"]);
    let failed = reach(&home, &id, "failed");
    assert!(failed["reason"].as_str().unwrap().contains("images"), "{failed}");
    // It is tried again: nothing has to be restarted.
    std::fs::remove_file(home.state_dir().join("images")).unwrap();
    load(&home, &system("later", json!({})), "example/app:1");
    assert_eq!(marker(&home, "example/app:1"), "later");
}
