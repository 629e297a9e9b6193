//! Tokens, as most public registries want them.

use ebbtide_image::{Credentials, PullProblem, Redacted};

use crate::images::{Layout, Packing};
use crate::proxy::{Damage, Proxy};
use crate::world::{Local, World, assert_says, name};

/// Refuses the next request, and says where to get a token.
fn challenge(world: &World, issuer: &Proxy) {
    let realm = format!(r#"Bearer realm="http://{}/token",service="test""#, issuer.address);
    let headers = vec![("www-authenticate", realm)];
    world.proxy.damage("/v2/", 1, Damage::Answer { status: 401, headers, body: Vec::new() });
}

fn issue(issuer: &Proxy, status: u16, body: &str) {
    let body = body.as_bytes().to_vec();
    issuer.damage("/token", 1, Damage::Answer { status, headers: Vec::new(), body });
}

#[tokio::test]
async fn a_token_is_fetched_with_the_login_shown_with_every_request_and_renewed() {
    let world = World::new();
    let layout = Layout::of(&[("file", b"content".to_vec(), Packing::Gzip)]);
    let image = name(&world.push(&layout, "team/app:1"));
    let issuer = Proxy::of(&world.registry.address);
    challenge(&world, &issuer);
    issue(&issuer, 200, r#"{"token": "first"}"#);
    let login = Credentials { username: "u".to_owned(), password: Redacted::new("p") };
    let local = Local::new();
    let pulled = local.puller().pull(&image, Some(login.clone())).done().await.unwrap();
    assert_eq!(pulled.private_to.as_deref(), Some(&*format!("u at {}", world.proxy.address)));
    let asked = issuer.seen("/token");
    assert_eq!(asked.len(), 1);
    assert_says(&asked[0].path, &["service=test", "scope=repository%3Ateam%2Fapp%3Apull"]);
    assert_eq!(asked[0].authorization.as_deref(), Some("Basic dTpw"));
    let shown = world.proxy.seen("/v2/");
    assert_eq!(shown[0].authorization, None);
    assert!(shown[1..].iter().all(|seen| seen.authorization.as_deref() == Some("Bearer first")), "{shown:?}");

    // One that has run out in the middle.
    let manifest = &layout.digest();
    let local = Local::new();
    challenge(&world, &issuer);
    issue(&issuer, 200, r#"{"access_token": "second"}"#);
    let realm = format!(r#"Bearer realm="http://{}/token""#, issuer.address);
    let headers = vec![("www-authenticate", realm)];
    world.proxy.damage("/blobs/", 1, Damage::Answer { status: 401, headers, body: Vec::new() });
    issue(&issuer, 200, r#"{"token": "third"}"#);
    let pulled = local.puller().pull(&image, None).done().await.unwrap();
    assert_eq!((&pulled.digest.to_string(), pulled.private_to), (manifest, None));
    let last = world.proxy.seen("/blobs/").pop().unwrap();
    assert_eq!(last.authorization.as_deref(), Some("Bearer third"));
}

#[tokio::test]
async fn a_token_that_is_refused_tells_who_was_refused_and_never_the_password() {
    let world = World::new();
    let image = name(&world.name("team/app:1"));
    let issuer = Proxy::of(&world.registry.address);
    let login = Credentials { username: "somebody".to_owned(), password: Redacted::new("hush") };
    let local = Local::new();
    let puller = local.puller();
    let pull = async |login: Option<&Credentials>| {
        let error = puller.pull(&image, login.cloned()).done().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        error
    };
    for status in [401, 403] {
        challenge(&world, &issuer);
        issue(&issuer, status, "hush");
        let refused = pull(Some(&login)).await;
        assert!(matches!(*refused.problem, PullProblem::WrongCredentials { .. }), "{refused}");
        assert_says(&refused.to_string(), &["somebody", "the request"]);
    }
    challenge(&world, &issuer);
    issue(&issuer, 401, "");
    assert!(matches!(*pull(None).await.problem, PullProblem::NoCredentials { .. }));
    // A token that is good for nothing: the login is right and has no right.
    challenge(&world, &issuer);
    challenge(&world, &issuer);
    issue(&issuer, 200, r#"{"token": "weak"}"#);
    let forbidden = pull(Some(&login)).await;
    assert!(matches!(*forbidden.problem, PullProblem::Forbidden { .. }), "{forbidden}");
    for nothing in ["hush", "{}", r#"{"token": ""}"#, r#"{"token": "a\nb"}"#] {
        challenge(&world, &issuer);
        issue(&issuer, 200, nothing);
        assert_says(&pull(Some(&login)).await.to_string(), &["the token cannot be understood"]);
    }
}

#[tokio::test]
async fn a_registry_that_sends_on_to_another_host_does_not_send_the_login_along() {
    let world = World::new();
    let layout = Layout::of(&[("file", b"content".to_vec(), Packing::Gzip)]);
    let image = name(&world.push(&layout, "app:1"));
    let elsewhere = Proxy::of(&world.registry.address);
    let basic = vec![("www-authenticate", r#"Basic realm="test""#.to_owned())];
    world.proxy.damage("/v2/", 1, Damage::Answer { status: 401, headers: basic, body: Vec::new() });
    let layer = format!("/v2/app/blobs/{}", layout.layers()[0]);
    let location = vec![("location", format!("http://{}{layer}", elsewhere.address))];
    world.proxy.damage(&layer, 1, Damage::Answer { status: 307, headers: location, body: Vec::new() });
    let login = Credentials { username: "u".to_owned(), password: Redacted::new("p") };
    let pulled = Local::new().puller().pull(&image, Some(login)).done().await.unwrap();
    assert_eq!(pulled.digest.to_string(), layout.digest());
    assert_eq!(world.proxy.seen(&layer)[0].authorization.as_deref(), Some("Basic dTpw"));
    let there = elsewhere.seen("/v2/");
    assert_eq!((there.len(), there[0].authorization.as_deref()), (1, None));
}
