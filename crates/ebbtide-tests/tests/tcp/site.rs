//! A daemon that listens, and `ebb` as its callers run it.

use std::path::PathBuf;
use std::time::Duration;

use ebbtide_tests::{Ebb, Running, TestHome};
use rustix::process::Signal;
use serde_json::Value;

const START: Duration = Duration::from_secs(30);

/// A daemon that listens on an address of this machine.
pub(crate) struct Site<'a> {
    home: &'a TestHome,
    serve: Running,
    /// What callers set as EBBTIDE_URL.
    pub(crate) url: String,
}

/// A key as `ebb key create` prints it.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Makes a key.
pub(crate) fn key(home: &TestHome, organization: &str) -> Key {
    let made = home.ebb(["key", "create", "--json", "--organization", organization]).run().json();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Key { id: text("id"), secret: text("key") }
}

impl<'a> Site<'a> {
    /// Starts `ebb serve --listen` with these further arguments.
    pub(crate) fn start(home: &'a TestHome, arguments: &[&str]) -> Self {
        Self::start_as(home, home.ebb(Self::arguments(arguments)))
    }

    /// As [`Site::start`], with this command.
    pub(crate) fn start_as(home: &'a TestHome, command: Ebb) -> Self {
        let serve = command.limit(Duration::from_secs(300)).spawn();
        let line = serve.first_line(START);
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let url = ready["listen"][0].as_str().unwrap_or_else(|| panic!("no address in {line}")).to_owned();
        Self { home, serve, url }
    }

    /// The arguments of `ebb` for a daemon that listens.
    pub(crate) fn arguments<'b>(more: &[&'b str]) -> Vec<&'b str> {
        [&["serve", "--json", "--listen", "127.0.0.1:0"], more].concat()
    }

    /// `ebb` as somebody runs it who has an address and perhaps a key, and no home.
    pub(crate) fn call<'b>(&self, key: Option<&str>, arguments: impl IntoIterator<Item = &'b str>) -> Ebb {
        let elsewhere: PathBuf = self.home.directory().join("elsewhere");
        let mut ebb = Ebb::new(self.home.binary(), arguments)
            .env("EBBTIDE_HOME", &elsewhere)
            .env("EBBTIDE_URL", &self.url);
        if let Some(key) = key {
            ebb = ebb.env("EBBTIDE_API_KEY", key);
        }
        ebb
    }

    /// The ids that a listing shows to the owner of a key.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        ids(&self.call(Some(key), ["list", "--json"]).run().json())
    }

    /// The address without its scheme.
    pub(crate) fn address(&self) -> &str {
        self.url.split("://").nth(1).unwrap()
    }

    /// Ends the daemon; the sandboxes stay for the next one, or for the end of the test.
    pub(crate) fn end(self) {
        self.end_with_log();
    }

    /// As [`Site::end`]; tells what the daemon has logged.
    pub(crate) fn end_with_log(self) -> String {
        self.serve.signal(Signal::TERM);
        let log = self.serve.wait().exited(0).error();
        assert!(!self.home.directory().join("elsewhere").exists(), "a caller with an address made a home");
        log
    }
}

/// The ids in a listing.
pub(crate) fn ids(listing: &Value) -> Vec<String> {
    let sandboxes = listing["sandboxes"].as_array().unwrap();
    sandboxes.iter().map(|sandbox| sandbox["id"].as_str().unwrap().to_owned()).collect()
}
