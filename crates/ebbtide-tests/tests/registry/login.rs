//! A registry with a password.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ebbtide_image::{Credentials, Redacted};

use crate::images::{Layout, Packing};
use crate::registry::{Options, PASSWORD, Registry, USER};
use crate::world::{Local, World, assert_says, name};

/// `tester:correct horse` and `tester:hush`.
const RIGHT: &str = "dGVzdGVyOmNvcnJlY3QgaG9yc2U=";
const WRONG: &str = "dGVzdGVyOmh1c2g=";

fn locked() -> Registry {
    Registry::start_with(&Options { password: true, ..Options::default() })
}

fn push(world: &World, repository: &str) -> String {
    let layout = Layout::of(&[("file", b"private".to_vec(), Packing::Gzip)]);
    let login = format!("--dest-creds={USER}:{PASSWORD}");
    layout.push(&world.registry.address, repository, &[&login]);
    world.name(repository)
}

#[test]
fn a_private_image_comes_with_the_right_login_and_the_words_tell_how_to_log_in() {
    let world = World::with(locked);
    let name = push(&world, "team/private:1");
    let registry = world.proxy.address.clone();
    let none = world.refused(&name);
    assert_says(&none, &["wants credentials", "team/private", &format!("docker login {registry}")]);
    world.docker_config(&format!(r#"{{"auths": {{"{registry}": {{"auth": "{WRONG}"}}}}}}"#));
    let wrong = world.refused(&name);
    assert_says(&wrong, &["refuses the credentials of \"tester\"", "config.json"]);
    assert!(!wrong.contains("hush") && !wrong.contains(WRONG), "{wrong}");
    world.docker_config(&format!(r#"{{"auths": {{"{registry}": {{"auth": "{RIGHT}"}}}}}}"#));
    assert_eq!(world.pull(&name).run().json()["name"], name.as_str());
}

#[test]
fn a_credential_helper_is_asked_and_one_that_fails_is_named() {
    let world = World::with(locked);
    let name = push(&world, "team/private:1");
    let registry = &world.proxy.address;
    let programs = world.home.directory().join("bin");
    fs::create_dir_all(&programs).unwrap();
    let helper = |script: &str| {
        let path = programs.join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let pull = || world.pull(&name).env("PATH", &path).run();
    world.docker_config(r#"{"credsStore": "test"}"#);
    helper("echo 'hush: the vault is sealed'; exit 1");
    let failed = crate::world::message(&pull().exited(125));
    assert_says(&failed, &["docker-credential-test failed", "config.json"]);
    assert!(!failed.contains("hush"), "{failed}");
    helper("echo 'credentials not found in native keychain'; exit 1");
    assert_says(&crate::world::message(&pull().exited(125)), &["wants credentials"]);
    helper(&format!(
        r#"read host; [ "$host" = "{registry}" ] && echo '{{"Username": "{USER}", "Secret": "{PASSWORD}"}}'"#
    ));
    assert_eq!(pull().json()["name"], name.as_str());
}

#[tokio::test]
async fn what_came_with_somebodys_login_is_theirs_and_others_have_to_show_theirs() {
    let world = World::with(locked);
    let image = name(&push(&world, "team/private:1"));
    let local = Local::new();
    let puller = local.puller();
    let login = |password: &str| Credentials { username: USER.to_owned(), password: Redacted::new(password) };
    let wrong = puller.pull(&image, Some(login("hush"))).done().await.unwrap_err();
    assert_says(&wrong.to_string(), &["refuses the credentials of \"tester\" that the request gave"]);
    assert!(!format!("{wrong:?} {:?}", login("hush")).contains("hush"));
    let pulled = puller.pull(&image, Some(login(PASSWORD))).done().await.unwrap();
    let owner = pulled.private_to.clone().unwrap();
    assert_says(&owner, &[USER, &world.proxy.address]);
    assert!(puller.may_use(&image, &pulled, Some(&login(PASSWORD))).await.unwrap());
    assert!(!puller.may_use(&image, &pulled, Some(&login("hush"))).await.unwrap());
    assert!(!puller.may_use(&image, &pulled, None).await.unwrap());
    world.proxy.damage("/manifests/", 9, crate::proxy::Damage::Break(0));
    assert!(puller.may_use(&image, &pulled, Some(&login(PASSWORD))).await.is_err(), "a guess");
}

#[tokio::test]
async fn an_image_that_anybody_may_have_is_nobodys_whatever_credentials_the_request_had() {
    let world = World::new();
    let layout = Layout::of(&[("file", b"public".to_vec(), Packing::Gzip)]);
    let image = name(&world.push(&layout, "app:1"));
    let login = Credentials { username: USER.to_owned(), password: Redacted::new(PASSWORD) };
    let pulled = Local::new().puller().pull(&image, Some(login)).done().await.unwrap();
    assert_eq!(pulled.private_to, None);
    let sent: Vec<_> = world.proxy.seen("/v2/").into_iter().filter_map(|seen| seen.authorization).collect();
    assert!(sent.is_empty(), "a password went to where nobody had asked for it");
}
