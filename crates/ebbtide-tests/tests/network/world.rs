//! A daemon with a network of its own, and those who call it.

use std::time::Duration;

use ebbtide_tests::{Network, Program, Running, Space, TestHome, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::LIMIT;
use crate::program;

/// No daemon of a test serves for longer.
const SERVES: Duration = Duration::from_secs(900);

pub(crate) struct World<'a> {
    home: &'a TestHome,
    pub(crate) network: Network,
    serve: Running,
    pub(crate) port: String,
    key: String,
}

impl<'a> World<'a> {
    /// A daemon, and places for so many owners.
    pub(crate) fn start(home: &'a TestHome, owners: usize) -> Self {
        let network = Network::new(owners);
        let key = home.ebb(["key", "create", "--json", "--organization", "acme"]).run().json();
        let serve = home.ebb(["serve", "--json", "--insecure", "--listen", "0.0.0.0:0"]);
        let serve = serve.within(network.daemon()).limit(SERVES).spawn();
        let ready: Value = serde_json::from_str(&serve.first_line(LIMIT)).unwrap();
        let port = ready["listen"][0].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        Self { home, network, serve, port, key: key["key"].as_str().unwrap().to_owned() }
    }

    /// A program at the end of an owner's cable, which has made a sandbox; with these further variables.
    pub(crate) fn owner(&self, owner: usize, environment: &[(&str, &str)]) -> Program {
        let url = format!("http://{}:{}", self.network.address(owner), self.port);
        self.program(self.network.owner(owner), &url, environment)
    }

    /// As [`World::owner`], anywhere.
    pub(crate) fn program(&self, place: &Space, url: &str, environment: &[(&str, &str)]) -> Program {
        let elsewhere = self.home.directory().join("elsewhere");
        let known = [
            ("EBBTIDE_URL", url),
            ("EBBTIDE_API_KEY", &self.key),
            ("EBBTIDE_HOME", elsewhere.to_str().unwrap()),
        ];
        program::start(place, &[&known, environment].concat())
    }

    /// `ebb`, beside the daemon, as one of the same organisation.
    fn ebb(&self, arguments: &[&str]) -> Value {
        let ebb = self.home.ebb(arguments.iter().copied()).env("EBBTIDE_API_KEY", &self.key);
        let ebb = ebb.env("EBBTIDE_URL", format!("http://127.0.0.1:{}", self.port));
        ebb.within(self.network.daemon()).run().json()
    }

    /// What `ebb get` says.
    pub(crate) fn get(&self, id: &str) -> Value {
        self.ebb(&["get", id, "--json"])
    }

    /// The ids of all that have not ended.
    pub(crate) fn live(&self) -> Vec<String> {
        let listed = self.ebb(&["list", "--json"]);
        let ids = listed["sandboxes"].as_array().unwrap().iter();
        ids.map(|sandbox| sandbox["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until who stands for a sandbox is of this kind.
    pub(crate) fn becomes(&self, id: &str, kind: &str) -> Value {
        eventually(&format!("{id} is {kind}"), LIMIT, || {
            let sandbox = self.get(id);
            (sandbox["ownership"]["kind"] == kind).then_some(sandbox)
        })
    }

    /// Waits until a sandbox has ended, for this reason.
    pub(crate) fn ends(&self, id: &str, reason: &str) {
        let ended = eventually(&format!("{id} ends"), LIMIT, || {
            let sandbox = self.get(id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(ended["end"]["reason"], reason, "{ended}");
    }

    /// The connections of the daemon from this address or, without one, from any, as `ss` tells them.
    pub(crate) fn connections(&self, from: &str) -> Vec<String> {
        let filter = format!("( sport = :{} )", self.port);
        let mut ss = self.network.daemon().command("ss");
        let output = ss.args(["-Htno", "state", "connected", &filter]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().filter(|line| line.contains(from)).map(str::to_owned).collect()
    }

    /// Ends the daemon, once nothing is wrong with what it has.
    pub(crate) fn end(self) {
        let _ = self.home.ebb(["doctor"]).run().exited(0);
        self.serve.signal(Signal::TERM);
        let _ = self.serve.wait().exited(0);
        assert!(!self.home.directory().join("elsewhere").exists(), "a caller with an address made a home");
    }
}
