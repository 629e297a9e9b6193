//! The daemon and the sandboxes that cases happen to.

use std::path::PathBuf;
use std::time::Duration;

use ebbtide::{Client, ConnectOptions, HomeLocation, Select};
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_tests::TestHome;
use fastrand::Rng;
use prost_reflect::prost::Message as _;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::call::{Answer, Connection};
use crate::schema::Schema;

const LIMIT: Duration = Duration::from_secs(30);
/// How many ids are remembered.
const KNOWN: usize = 16;

pub(crate) struct World {
    pub(crate) schema: Schema,
    pub(crate) socket: PathBuf,
    client: Client,
    /// A sandbox that idles, and is replaced when a case has ended it.
    target: Mutex<String>,
    /// A sandbox that wrote something and has ended.
    speaker: String,
    known: Mutex<Vec<String>>,
    tokens: std::sync::Mutex<Vec<String>>,
}

impl World {
    pub(crate) async fn new(home: &TestHome) -> Self {
        let target = home.create(&[]);
        let speaker = home.create(&["--", "sh", "-c", "seq 1 2000; printf end"]);
        let location = HomeLocation::new(home.state_dir(), "/run/ebbtide").open().unwrap();
        let options = ConnectOptions { autostart: false, ..ConnectOptions::default() };
        Self {
            schema: Schema::read(),
            socket: location.socket(),
            client: ebbtide::connect(&location, &options).await.unwrap(),
            known: Mutex::new(vec![String::new(), "01jd0000000000000000000000".to_owned(), speaker.clone()]),
            target: Mutex::new(target),
            tokens: std::sync::Mutex::default(),
            speaker,
        }
    }

    pub(crate) async fn connection(&self) -> Connection {
        let tokens = self.tokens.lock().unwrap().clone();
        Connection::open(&self.socket, tokens).await
    }

    /// Remembers what proves a lease.
    pub(crate) fn learn_token(&self, token: String) {
        let mut tokens = self.tokens.lock().unwrap();
        if tokens.len() == KNOWN {
            tokens.remove(0);
        }
        tokens.push(token);
    }

    /// What proves a lease that is or was, or nothing.
    pub(crate) fn token(&self, rng: &mut Rng) -> String {
        rng.choice(&*self.tokens.lock().unwrap()).cloned().unwrap_or_default()
    }

    /// A sandbox that runs, unless a case ends it at this moment.
    pub(crate) async fn target(&self) -> String {
        let mut target = self.target.lock().await;
        let sandbox = timeout(LIMIT, self.client.get(&target)).await.expect("an answer").unwrap();
        if sandbox.status.unwrap_or_default().state() != wire::State::Running {
            let container = wire::Container { image: "host".to_owned(), ..Default::default() };
            let spec = wire::SandboxSpec { containers: vec![container], ..Default::default() };
            let made = timeout(LIMIT, self.client.create(spec, "")).await.expect("an answer").unwrap();
            self.client.wait_started(&made.sandbox_id, LIMIT).await.unwrap();
            *target = made.sandbox_id;
        }
        target.clone()
    }

    pub(crate) fn speaker(&self) -> &str {
        &self.speaker
    }

    /// Ids to ask for: of sandboxes that are there, have ended or never were.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let mut ids = self.known.lock().await.clone();
        ids.push(self.target.lock().await.clone());
        ids
    }

    /// Remembers the sandbox that an answer may be.
    pub(crate) async fn learn(&self, answer: &Answer) {
        let sandbox = answer.messages.first().and_then(|bytes| wire::Sandbox::decode(bytes.as_ref()).ok());
        if let Some(id) = sandbox.map(|sandbox| sandbox.sandbox_id).filter(|id| id.len() == 26) {
            let mut known = self.known.lock().await;
            if known.len() == KNOWN {
                known.remove(2);
            }
            known.push(id);
        }
    }

    /// Fails if the daemon does not answer.
    pub(crate) async fn answers(&self) {
        timeout(LIMIT, self.client.info()).await.expect("the daemon answers").unwrap();
    }

    /// Ends what cases have made.
    pub(crate) async fn sweep(&self) {
        let target = self.target.lock().await;
        let all = timeout(LIMIT, self.client.list(Select::default())).await.expect("an answer").unwrap();
        for sandbox in all.iter().filter(|sandbox| sandbox.sandbox_id != *target) {
            let delete = self.client.delete(&sandbox.sandbox_id, Duration::ZERO, true);
            timeout(LIMIT, delete).await.expect("an answer").unwrap();
        }
    }
}
