//! TLS with a certificate authority of one's own.

use std::fs;
use std::path::{Path, PathBuf};

use ebbtide::{ConnectOptions, Remote};
use ebbtide_tests::Machine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::site::{Site, key};

/// An authority, and the file that tells whom to trust.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(format!("{name}.pem"));
        fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// Writes a certificate for this machine, and its key.
    fn vouch(&self, cert: &Path, key: &Path) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let pair = KeyPair::generate().unwrap();
        let made = params.signed_by(&pair, &self.issuer).unwrap();
        fs::write(cert, made.pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}

#[test]
fn a_daemon_is_believed_if_the_authority_vouches_for_it_and_renews_its_certificate_as_it_runs() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = key(&home, "one").secret;
    let at = |name: &str| home.directory().join(name);
    let (cert, pem_key) = (at("cert.pem"), at("key.pem"));
    let [first, second] = ["first", "second"].map(|name| Authority::new(home.directory(), name));
    first.vouch(&cert, &pem_key);
    let site =
        Site::start(&home, &["--tls-cert", cert.to_str().unwrap(), "--tls-key", pem_key.to_str().unwrap()]);
    assert!(site.url.starts_with("https://"), "{}", site.url);
    let trusting = |authority: Option<&Authority>| {
        let call = site.call(Some(&secret), ["run", "--", "echo", "hi"]);
        match authority {
            Some(authority) => call.env("EBBTIDE_CA_FILE", &authority.file),
            None => call,
        }
    };
    let refused = |authority: Option<&Authority>| {
        let answer = trusting(authority).run().exited(125);
        assert!(answer.error().contains("certificate"), "{}", answer.error());
    };
    assert_eq!(trusting(Some(&first)).run().ok(), "hi");
    refused(Some(&second));
    refused(None);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let remote: Remote = site.url.parse().unwrap();
    let remote = remote.with_key(&secret).unwrap().with_ca_file(&first.file);
    let open = runtime.block_on(remote.connect(&ConnectOptions::default())).unwrap();

    fs::write(&cert, "half a certifica").unwrap();
    assert_eq!(trusting(Some(&first)).run().ok(), "hi", "a broken certificate is in use");
    second.vouch(&cert, &pem_key);
    assert_eq!(trusting(Some(&second)).run().ok(), "hi", "the new certificate is not in use");
    refused(Some(&first));
    runtime.block_on(open.info()).expect("the open connection goes on");

    let plain = site.url.replace("https://", "http://");
    let refused = site.call(Some(&secret), ["list"]).env("EBBTIDE_URL", plain).run().exited(125);
    assert!(refused.error().contains("https://"), "{}", refused.error());
    assert_eq!(trusting(Some(&second)).run().ok(), "hi");
    drop(open);
    drop(runtime);
    site.end();
}

#[test]
fn who_wants_tls_where_there_is_none_is_told_so() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = key(&home, "one").secret;
    let site = Site::start(&home, &[]);
    let secure = site.url.replace("http://", "https://");
    let refused = site.call(Some(&secret), ["list"]).env("EBBTIDE_URL", secure).run().exited(125);
    assert!(refused.error().contains("does not speak TLS"), "{}", refused.error());
    site.end();
}

#[test]
fn files_that_are_no_pair_are_refused_by_name() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = key(&home, "one");
    let refused = home
        .ebb(Site::arguments(&["--tls-cert", "/nonexistent/cert.pem", "--tls-key", "/nonexistent/key.pem"]))
        .run()
        .exited(125);
    assert!(refused.error().contains("/nonexistent/cert.pem"), "{}", refused.error());
}
