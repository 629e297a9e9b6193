//! Names that lead to nothing, each with words that help.

use crate::images::{Layout, Packing};
use crate::proxy::Damage;
use crate::world::{World, assert_says};

#[test]
fn what_is_not_there_is_said_so_and_what_of_its_name_to_check() {
    let world = World::new();
    let layout = Layout::of(&[("file", b"x".to_vec(), Packing::Gzip)]);
    world.push(&layout, "app:1");
    let registry = world.proxy.address.clone();
    let tag = world.refused(&world.name("app:2"));
    assert_says(&tag, &["app:2", &registry, "repository app has no tag \"2\""]);
    let repository = world.refused(&world.name("nothing:1"));
    assert_says(&repository, &["nothing", "check"]);
    let absent = format!("sha256:{}", "1".repeat(64));
    let digest = world.refused(&format!("{}@{absent}", world.name("app")));
    assert_says(&digest, &["no digest", &absent]);
    let closed = world.refused("127.0.0.1:1/app");
    assert_says(&closed, &["127.0.0.1:1 cannot be reached", "refused"]);
    let unknown = world.refused("registry.invalid/app");
    assert_says(&unknown, &["registry.invalid cannot be reached", "check the name of the registry"]);
    for (bad, part) in [("Not A Name", "name"), ("host", "called host")] {
        assert_says(&crate::world::message(&world.pull(bad).run().exited(125)), &[part]);
    }
}

#[test]
fn what_is_no_registry_or_no_image_is_named_and_its_words_are_not_repeated() {
    let world = World::new();
    let name = world.name("app:1");
    let page = |status, body: &str| Damage::Answer {
        status,
        headers: vec![("content-type", "text/html".to_owned())],
        body: body.as_bytes().to_vec(),
    };
    world.proxy.damage("/manifests/", 1, page(200, "<html>internal page</html>"));
    let message = world.refused(&name);
    assert_says(&message, &["the manifest cannot be understood", "is a registry"]);
    assert!(!message.contains("internal page"), "{message}");
    world.proxy.damage("/manifests/", 1, page(404, "<html>internal page</html>"));
    assert!(!world.refused(&name).contains("internal page"));
    let large = vec![b' '; 9 << 20];
    let huge = Damage::Answer { status: 200, headers: Vec::new(), body: large };
    world.proxy.damage("/manifests/", 1, huge);
    assert_says(&world.refused(&name), &["the manifest of app:1 is larger than", "[images.limits]"]);
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let digest = format!("sha256:{}", "2".repeat(64));
    let manifest = format!(
        r#"{{"schemaVersion": 2,
            "config": {{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "{digest}", "size": 2}},
            "layers": [{{"mediaType": "{foreign}", "digest": "{digest}", "size": 2, "urls": ["http://127.0.0.1:1/"]}}]}}"#
    );
    world.proxy.damage("/manifests/", 1, page(200, &manifest));
    assert_says(&world.refused(&name), &[foreign, "layer 1 of 1", "another base"]);
}
