//! While an image is being pulled: what is seen of it, what ends it, and who waits for it.

use std::time::Duration;

use ebbtide_tests::{Machine, TestHome, eventually};
use serde_json::{Value, json};

use crate::proxy::{Damage, Proxy};
use crate::registry::Registry;
use crate::world::{push, reach, system};

const LIMIT: Duration = Duration::from_secs(60);

/// A home, and a registry behind something slow that has `app:1`.
struct World {
    proxy: Proxy,
    registry: Registry,
    home: TestHome,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let machine = Machine::take();
        let home = machine.home();
        let registry = Registry::start();
        push(&system("slow", json!({})), &registry.address, "app:1", &[]);
        let proxy = Proxy::of(&registry.address);
        Self { proxy, registry, home, machine }
    }

    fn image(&self) -> String {
        format!("{}/app:1", self.proxy.address)
    }

    fn end(self) {
        let Self { proxy, registry, home, machine } = self;
        home.shutdown();
        drop((proxy, registry));
        machine.assert_nothing_left();
    }

    /// Lets no layer come to its end.
    fn stall(&self) {
        self.proxy.damage("/blobs/", 1000, Damage::Stall(100_000));
    }

    /// Asks for a sandbox and waits until its image is on the way.
    fn pulling(&self) -> String {
        let id = self.home.create(&["--no-wait", "--image", &self.image()]);
        let pulling = eventually("the pull is seen", LIMIT, || {
            let sandbox = self.home.get(&id);
            sandbox["reason"].as_str().is_some_and(|reason| reason.contains("layers")).then_some(sandbox)
        });
        assert_eq!(pulling["state"], "pending", "{pulling}");
        assert!(pulling["reason"].as_str().unwrap().starts_with("pulling "), "{pulling}");
        id
    }
}

#[test]
fn a_pull_is_shown_where_the_sandbox_is_shown_and_in_its_events() {
    let world = World::new();
    world.stall();
    let id = world.pulling();
    let listed = world.home.ebb(["list"]).run().ok();
    assert!(listed.contains("pulling"), "{listed}");
    let events = world.home.ebb(["events", "--sandbox", &id, "--json"]).run().ok();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let preparing: Vec<&Value> = events.iter().filter(|event| event["event"] == "preparing").collect();
    assert!(!preparing.is_empty() && preparing.len() < 5, "{events:?}");
    assert!(preparing[0]["message"].as_str().unwrap().starts_with("pulling "), "{events:?}");
    // Others do not wait for it.
    world.home.ebb(["run", "--", "echo"]).run().ok();
    world.home.ebb(["stop", &id]).run().ok();
    let ended = world.home.get(&id);
    assert_eq!((ended["state"].as_str(), ended["started_at"].as_str()), (Some("completed"), None), "{ended}");
    world.end();
}

#[test]
fn a_lifetime_bounds_a_pull() {
    let world = World::new();
    world.stall();
    let id = world.home.create(&["--no-wait", "--lifetime", "2", "--image", &world.image()]);
    let ended = eventually("it ends", LIMIT, || {
        let sandbox = world.home.get(&id);
        sandbox["ended_at"].is_string().then_some(sandbox)
    });
    assert!(ended["reason"].as_str().unwrap().starts_with("lifetime_expired"), "{ended}");
}

#[test]
fn a_pull_goes_on_with_the_next_daemon() {
    let world = World::new();
    world.stall();
    let id = world.pulling();
    world.home.kill_daemon();
    world.proxy.heal();
    reach(&world.home, &id, "running");
    assert_eq!(world.home.exec(&id, "cat /etc/marker").run().ok(), "slow");
    world.home.ebb(["stop", &id, "--grace", "0"]).run().ok();
    world.end();
}

#[test]
fn many_that_want_the_same_absent_image_cause_one_pull() {
    let world = World::new();
    let image = world.image();
    let ids: Vec<String> = (0..20).map(|_| world.home.create(&["--no-wait", "--image", &image])).collect();
    for id in &ids {
        reach(&world.home, id, "running");
    }
    let mut fetched: Vec<String> = world.proxy.seen("/blobs/").into_iter().map(|seen| seen.path).collect();
    let requests = fetched.len();
    fetched.sort();
    fetched.dedup();
    assert_eq!((requests, fetched.len()), (3, 3), "each blob once: {fetched:?}");
    world.home.ebb(["purge", "--all", "--yes"]).run().ok();
    world.end();
}

#[test]
fn images_are_kept_within_the_bound_that_the_configuration_sets() {
    let world = World::new();
    // No sandbox is made ahead: one that is holds its image, too.
    world.home.configure("[images]\nmax_bytes = \"1Ki\"\n[runtime]\npool_slots = 0\n");
    let image = world.image();
    let id = world.home.create(&["--image", &image]);
    // It is in use, whatever the bound is.
    std::thread::sleep(Duration::from_secs(8));
    let here = || world.home.ebb(["image", "list", "--json"]).run().ok().contains("app:1");
    assert!(here());
    world.home.ebb(["stop", &id, "--grace", "0"]).run().ok();
    eventually("the image goes", LIMIT, || (!here()).then_some(()));
    // It comes again when it is wanted again.
    world.home.ebb(["run", "--image", &image, "--", "echo"]).run().ok();
}
