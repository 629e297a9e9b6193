//! Images that not everybody may have: whose credentials, from where, and what is said to everybody else.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;

use ebbtide::{Error, ErrorKind, PullCredentials};
use ebbtide_tests::{Machine, TestHome};
use serde_json::json;

use crate::registry::{Options, PASSWORD, Registry, USER};
use crate::world::{builder, push, reach, system};

/// A home with a secret store `team`, and a registry with a password that has `private/app:1`.
struct World {
    registry: Registry,
    home: TestHome,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let machine = Machine::take();
        let home = machine.home();
        // Not that of whoever runs the tests.
        let docker = home.directory().join("docker").to_str().unwrap().to_owned();
        let home = home.with_env("DOCKER_CONFIG", &docker);
        home.configure("[secrets.team]\ndir = \"secrets\"\n");
        let secrets = home.state_dir().join("secrets");
        fs::DirBuilder::new().mode(0o700).create(&secrets).unwrap();
        fs::write(secrets.join("right"), format!("{USER}:{PASSWORD}\n")).unwrap();
        fs::write(secrets.join("wrong"), format!("{USER}:guessed\n")).unwrap();
        let registry = Registry::start_with(&Options { password: true, ..Options::default() });
        let login = format!("--dest-creds={USER}:{PASSWORD}");
        push(&system("private", json!({})), &registry.address, "private/app:1", &[&login]);
        Self { registry, home, machine }
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.address)
    }

    fn end(self) {
        let Self { registry, home, machine } = self;
        home.shutdown();
        drop(registry);
        machine.assert_nothing_left();
    }

    fn credentials(&self, path: &str) -> PullCredentials {
        let registry = self.registry.address.clone();
        PullCredentials { registry, store: "team".into(), path: path.into(), field: String::new() }
    }
}

#[tokio::test]
async fn a_private_image_comes_with_the_credentials_of_a_secret_store_and_stays_private() {
    let world = World::new();
    let World { home, .. } = &world;
    let name = world.image("private/app:1");
    let on_image = || builder(home).image(&name);
    // Nobody has it yet, and nobody without credentials gets it.
    let refused = |error: Error| {
        assert!(matches!(error, Error::SandboxFailed { .. }), "{error:?}");
        error.to_string()
    };
    let said = refused(on_image().run().await.unwrap().wait().await.unwrap_err());
    assert!(said.contains("create_failed") && said.contains("credentials"), "{said}");
    let wrong = on_image().pull_credentials(world.credentials("wrong")).run().await.unwrap();
    let said = refused(wrong.wait().await.unwrap_err());
    assert!(said.contains(USER) && !said.contains("guessed"), "{said}");

    let sandbox = on_image().pull_credentials(world.credentials("right")).run().await.unwrap();
    let marker = sandbox.exec(["cat", "/etc/marker"]).check().output().await.unwrap();
    assert_eq!(marker.stdout_text(), "private\n");
    // It is here now, and still for those only who could have pulled it.
    refused(on_image().run().await.unwrap().wait().await.unwrap_err());
    refused(
        on_image()
            .pull_credentials(world.credentials("wrong"))
            .run()
            .await
            .unwrap()
            .wait()
            .await
            .unwrap_err(),
    );
    let again = on_image().pull_credentials(world.credentials("right")).run().await.unwrap();
    again.wait().await.unwrap();
    // A secret is nowhere in what is kept.
    let ledger = fs::read(home.state_dir().join("ledger.db")).unwrap();
    let holds = |text: &str| ledger.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds(PASSWORD) && !holds("guessed"));
    again.stop().await.unwrap();
    sandbox.stop().await.unwrap();
    world.end();
}

#[tokio::test]
async fn credentials_that_cannot_be_meant_are_refused_before_anything_is_recorded() {
    let world = World::new();
    let name = world.image("private/app:1");
    const FIELD: &str = "spec.containers[0].image_pull_credentials";
    let right = || world.credentials("right");
    for (image, credentials, field) in [
        (name.as_str(), PullCredentials { registry: "docker.io".into(), ..right() }, ".registry"),
        (&name, PullCredentials { store: "nobody".into(), ..right() }, ".credentials.store_name"),
        (&name, PullCredentials { path: "absent".into(), ..right() }, ".credentials.path"),
        (&name, PullCredentials { path: "../ledger.db".into(), ..right() }, ".credentials.path"),
        (&name, PullCredentials { field: "f".into(), ..right() }, ".credentials.path"),
        ("host", right(), ""),
    ] {
        let builder = builder(&world.home).image(image).pull_credentials(credentials);
        let error = builder.run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation, "{error:?}");
        let rejection = error.rejection().unwrap();
        assert_eq!(rejection.fields[0].field, format!("{FIELD}{field}"), "{error}");
    }
    let listed = world.home.ebb(["list", "--all", "--json"]).run().json();
    assert_eq!(listed["sandboxes"], json!([]));
}

#[test]
fn a_create_that_cannot_have_its_image_fails_with_words_that_help() {
    let world = World::new();
    let World { home, .. } = &world;
    let open = Registry::start();
    push(&system("open", json!({})), &open.address, "app:1", &[]);
    let open = &open.address;
    for (image, words) in [
        (format!("{open}/app:2"), ["app", "2"]),
        (format!("{open}/nothing:1"), ["nothing", "check the"]),
        (format!("{open}/app@sha256:{}", "0".repeat(64)), ["app", "sha256:000"]),
        ("127.0.0.1:1/app:1".to_owned(), ["127.0.0.1:1", "reached"]),
        ("registry.invalid/app:1".to_owned(), ["registry.invalid", "reached"]),
        (world.image("private/app:1"), ["credentials", "docker login"]),
    ] {
        let failed = home.ebb(["create", "--image", &image]).run().exited(125);
        let said = failed.error();
        for word in words {
            assert!(said.contains(word), "{image}: no {word:?} in {said}");
        }
        let _ = home.ebb(["run", "--image", &image, "--", "true"]).run().exited(125);
        let id = home.create(&["--no-wait", "--image", &image]);
        let failed = reach(home, &id, "failed");
        assert!(failed["reason"].as_str().unwrap().starts_with("create_failed: cannot pull "), "{failed}");
    }
    assert_eq!(home.live(), 0);
}
