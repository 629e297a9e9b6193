//! A home with a registry beside it.

use std::fs;
use std::path::{Path, PathBuf};

use ebbtide_image::{ImageName, Limits, Puller, RegistryConfig, Store};
use ebbtide_tests::{Ebb, Machine, Output, TestHome};

use crate::images::Layout;
use crate::proxy::Proxy;
use crate::registry::Registry;

/// A home, a registry, and what stands between them. Dropped in this order.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) registry: Registry,
    pub(crate) home: TestHome,
    _machine: Machine,
}

impl World {
    /// With a registry that anybody may use.
    pub(crate) fn new() -> Self {
        Self::with(Registry::start)
    }

    /// The same, and the home on a disk of its own.
    pub(crate) fn on_disk(bytes: u64) -> Self {
        let machine = Machine::take();
        let home = machine.home().on_disk(bytes);
        Self::around(machine, home, Registry::start)
    }

    pub(crate) fn with(registry: impl FnOnce() -> Registry) -> Self {
        let machine = Machine::take();
        let home = machine.home();
        Self::around(machine, home, registry)
    }

    fn around(machine: Machine, home: TestHome, registry: impl FnOnce() -> Registry) -> Self {
        // Not that of whoever runs the tests.
        let docker = home.directory().join("docker").to_str().unwrap().to_owned();
        let home = home.with_env("DOCKER_CONFIG", &docker);
        let registry = registry();
        let proxy = Proxy::of(&registry.address);
        Self { proxy, registry, home, _machine: machine }
    }

    /// The file of `docker login`.
    pub(crate) fn docker_config(&self, text: &str) {
        let directory = self.home.directory().join("docker");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("config.json"), text).unwrap();
    }

    /// Pushes an image; returns what it is called behind the proxy.
    pub(crate) fn push(&self, layout: &Layout, name: &str) -> String {
        layout.push(&self.registry.address, name, &[]);
        self.name(name)
    }

    /// What an image of the registry is called behind the proxy.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.proxy.address)
    }

    /// `ebb image pull NAME`.
    pub(crate) fn pull(&self, name: &str) -> Ebb {
        self.home.ebb(["image", "pull", "--json", name])
    }

    /// The words of a pull that fails, of which nothing is left.
    #[track_caller]
    pub(crate) fn refused(&self, name: &str) -> String {
        let output = self.pull(name).run().exited(125);
        self.assert_nothing_half_made();
        message(&output)
    }

    /// The directory of the images.
    pub(crate) fn images(&self) -> PathBuf {
        self.home.state_dir().join("images")
    }

    /// Panics if there is an image, or anything half-made.
    #[track_caller]
    pub(crate) fn assert_nothing_half_made(&self) {
        assert_nothing_half_made(&self.images());
    }
}

/// Panics if there is an image in a store, or anything half-made.
#[track_caller]
pub(crate) fn assert_nothing_half_made(store: &Path) {
    for directory in ["tmp", "images", "names"] {
        let left = entries(&store.join(directory));
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

/// The names in a directory; none if it is not there.
pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The words of an error that was printed as JSON.
#[track_caller]
pub(crate) fn message(output: &Output) -> String {
    let line = output.error();
    let error: serde_json::Value =
        serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"));
    error["error"]["message"].as_str().unwrap().to_owned()
}

/// Panics unless all of these are in a message.
#[track_caller]
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// A store of its own, for tests that pull in this process.
pub(crate) struct Local {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) config: RegistryConfig,
}

impl Local {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("images"), Limits::default()).unwrap();
        let config = RegistryConfig { docker_config: None, ..RegistryConfig::default() };
        Self { directory, store, config }
    }

    pub(crate) fn puller(&self) -> Puller {
        Puller::new(self.store.clone(), self.config.clone())
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.directory.path().join("images")
    }
}

pub(crate) fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}
