//! A small system to make images of, and the ways into a home.

use std::fs;
use std::process::Command;

use ebbtide::{ConnectOptions, Connection, HomeLocation, Sandbox, SandboxBuilder, Target};
use ebbtide_tests::TestHome;
use ebbtide_tests::image::{Compression, Layer, Meta, TestImage, Written};
use serde_json::Value;

/// What busybox is called in the images.
const PROGRAMS: [&str; 9] = ["cat", "echo", "env", "id", "kill", "ls", "pwd", "sh", "sleep"];

/// An image with a shell and some programs, users, and a file that says which image it is.
pub(crate) fn system(marker: &str, config: Value) -> TestImage {
    let (dir, file) = (|| Meta::new(0o755), || Meta::new(0o644));
    let busybox = fs::read("/bin/busybox").expect("busybox-static: `cargo xtask test` installs it");
    let mut programs = Layer::new().dir("bin/", dir()).file("bin/busybox", dir(), busybox);
    for program in PROGRAMS {
        programs = programs.symlink(format!("bin/{program}"), "busybox");
    }
    let files = Layer::new()
        .dir("etc/", dir())
        .file("etc/passwd", file(), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .file("etc/group", file(), "root:x:0:\napp:x:1000:\nteam:x:2000:\n")
        .file("etc/marker", file(), format!("{marker}\n"))
        .dir("home/", dir())
        .dir("home/app/", dir().of(1000, 1000));
    TestImage::new().config(config).layer(programs, Compression::Gzip).layer(files, Compression::Zstd)
}

/// Loads an image into a home as `name`.
pub(crate) fn load(home: &TestHome, image: &TestImage, name: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let written = image.write(directory.path(), name);
    home.ebb(["image", "load", directory.path().to_str().unwrap(), name]).run().ok();
    written
}

/// Pushes an image into a registry as `name`, with these further arguments of `skopeo copy`.
pub(crate) fn push(image: &TestImage, registry: &str, name: &str, more: &[&str]) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let written = image.write(directory.path(), "pushed");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
        .args(more)
        .arg(format!("oci:{}:pushed", directory.path().display()))
        .arg(format!("docker://{registry}/{name}"))
        .output()
        .expect("skopeo: `cargo xtask test` installs it");
    assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    written
}

/// A sandbox of the Rust client, to be made in a home.
pub(crate) fn builder(home: &TestHome) -> SandboxBuilder {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    Sandbox::builder().connection(Connection::to(Target::Home(location), options))
}

/// What `/etc/marker` says in a sandbox of its own on `image`.
pub(crate) fn marker(home: &TestHome, image: &str) -> String {
    home.ebb(["run", "--image", image, "--", "cat", "/etc/marker"]).run().ok()
}

/// Waits until a sandbox is in `state`; returns what is known of it then.
#[track_caller]
pub(crate) fn reach(home: &TestHome, id: &str, state: &str) -> Value {
    ebbtide_tests::eventually(&format!("sandbox {id} is {state}"), std::time::Duration::from_secs(60), || {
        let sandbox = home.get(id);
        (sandbox["state"] == state).then_some(sandbox)
    })
}
