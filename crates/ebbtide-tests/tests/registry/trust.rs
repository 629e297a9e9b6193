//! TLS, registries without it, and mirrors.

use std::fs;
use std::net::UdpSocket;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::images::{Layout, Packing};
use crate::proxy::{Damage, Proxy};
use crate::registry::{Options, Registry};
use crate::world::{World, assert_says, message};

fn image() -> Layout {
    Layout::of(&[("file", b"content".to_vec(), Packing::Gzip)])
}

/// An address of this machine that others reach, if it has one. Nothing is sent.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_believed_once_its_authority_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pair = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&pair, &authority).unwrap();
    let at = |name: &str| directory.path().join(name);
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    fs::write(&cert, certificate.pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    let tls = Some((cert.as_path(), key.as_path()));
    let world = World::with(|| Registry::start_with(&Options { tls, ..Options::default() }));
    let address = world.registry.address.clone();
    image().push(&address, "app:1", &[]);
    let name = format!("{address}/app:1");

    let unknown = world.refused(&name);
    assert_says(&unknown, &["certificate", &format!("[images.registry.{address:?}] ca = FILE")]);
    fs::write(world.home.state_dir().join("ca.pem"), authority.pem()).unwrap();
    world.home.configure(&format!("[images.registry.'{address}']\nca = 'ca.pem'\n"));
    assert_eq!(world.pull(&name).run().json()["name"], name.as_str());
    world.home.configure(&format!("[images.registry.'{address}']\nca = 'absent.pem'\n"));
    assert_says(&message(&world.pull(&name).run().exited(125)), &["absent.pem"]);
}

#[test]
fn a_registry_elsewhere_without_tls_is_used_only_if_the_configuration_says_so() {
    let Some(host) = outer_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let options = Options { host: Some(&host), ..Options::default() };
    let world = World::with(|| Registry::start_with(&options));
    // The environment's proxy, if there is one, need not reach this machine.
    let pull = |name: &str| world.pull(name).env("NO_PROXY", &host).env("no_proxy", &host).run();
    let address = world.registry.address.clone();
    image().push(&address, "app:1", &[]);
    let name = format!("{address}/app:1");
    let refused = message(&pull(&name).exited(125));
    world.assert_nothing_half_made();
    assert_says(
        &refused,
        &["does not speak TLS", &format!("[images.registry.{address:?}] plain_http = true")],
    );
    world.home.configure(&format!("[images.registry.'{address}']\nplain_http = true\n"));
    assert_eq!(pull(&name).json()["name"], name.as_str());
}

#[test]
fn mirrors_are_asked_first_in_their_order_and_what_they_lack_comes_from_the_registry() {
    let mut world = World::new();
    let layout = Layout::of(&[
        ("a", b"a".to_vec(), Packing::Gzip),
        ("b", crate::images::noise(100_000), Packing::Gzip),
    ]);
    let name = world.push(&layout, "team/app:1");
    let mirror = Registry::start();
    let seen = Proxy::of(&mirror.address);
    let registry = world.proxy.address.clone();
    let configure = |mirrors: &[&str]| {
        world.home.configure(&format!("[images.registry.'{registry}']\nmirrors = {mirrors:?}\n"));
    };
    // One that is not there, one that has nothing.
    configure(&["127.0.0.1:1", &seen.address]);
    assert_eq!(world.pull(&name).run().json()["digest"], layout.digest());
    assert_eq!(seen.seen("/manifests/1").len(), 1, "the mirror was not asked");
    world.proxy.forget();
    seen.forget();

    // One that has it, in part damaged.
    let _ = fs::remove_dir_all(world.images());
    layout.push(&mirror.address, "team/app:1", &[]);
    configure(&[&format!("http://{}", seen.address)]);
    seen.damage(&layout.layers()[1], 9, Damage::Corrupt);
    assert_eq!(world.pull(&name).run().json()["digest"], layout.digest());
    assert_eq!(world.proxy.seen("/manifests/").len(), 0, "the registry was asked for what a mirror has");
    assert_eq!(world.proxy.seen("/blobs/").len(), 1, "what the mirror has damaged comes from the registry");
    let image = world.home.ebb(["image", "pull", "--json", &name]).run().json();
    assert_eq!(image["name"], name.as_str(), "the image has the mirror's name");

    // The registry gone, the mirror whole.
    seen.heal();
    let _ = fs::remove_dir_all(world.images());
    world.registry.stop();
    assert_eq!(world.pull(&name).run().json()["digest"], layout.digest());
}
