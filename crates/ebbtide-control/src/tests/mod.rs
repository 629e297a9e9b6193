//! Scenarios of the whole engine on the fake driver. A [`Home`] is what outlives a daemon: a ledger and the fake's
//! world; [`Home::open`] is a daemon's start, [`crash`] its death by SIGKILL.

mod clocks;
mod endings;
mod events;
#[cfg(feature = "fail-points")]
mod failpoints;
mod forgetting;
mod idle;
mod images;
mod keep;
mod leases;
mod ledger;
mod listing;
mod main_end;
mod many;
mod metrics;
mod pause;
mod plan;
mod property;
mod restart;
mod simple;
mod time;

use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_driver::{ExecEvent, ExecRequest};
use ebbtide_model::{Command, ExitStatus, Principal, SandboxRecord, SandboxSpec, State};

use crate::{Control, ControlConfig, ControlError, Timing};

const ME: Principal = Principal::Uid(1000);
const SOMEBODY_ELSE: Principal = Principal::Uid(1001);

struct Home {
    dir: tempfile::TempDir,
    world: Arc<World>,
    config: ControlConfig,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let timing = Timing {
            sweep: Duration::from_secs(3600),
            mark: Duration::from_millis(5),
            retry_first: Duration::from_millis(2),
            retry_most: Duration::from_millis(20),
            settle: Duration::from_secs(5),
            ..Timing::default()
        };
        let config = ControlConfig {
            timing,
            max_concurrent_creates: 4,
            ..ControlConfig::new(dir.path().join("ledger.db"), "boot-1")
        };
        Self { dir, world: Arc::default(), config }
    }

    async fn open(&self) -> Control {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<Control, ControlError> {
        let driver = FakeDriver::on(Arc::clone(&self.world));
        Control::open(self.config.clone(), Arc::new(driver)).await
    }

    /// What exists in the world beside what it is told about.
    async fn exists(&self) -> usize {
        use ebbtide_driver::Driver;
        let driver = FakeDriver::on(Arc::clone(&self.world));
        driver.list().await.unwrap().len() + driver.leftovers().await.unwrap().len()
    }
}

/// A daemon's death by SIGKILL: nothing is written any more, nothing is waited for.
async fn crash(control: Control) {
    control.engine().tasks.close().await;
}

fn idle() -> SandboxSpec {
    SandboxSpec::new("host")
}

fn main(argv: &[&str]) -> SandboxSpec {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    SandboxSpec { main: Command { argv, ..Command::default() }, ..idle() }
}

async fn create(control: &Control, spec: SandboxSpec) -> String {
    control.create(&ME, spec, "").await.unwrap().id.to_string()
}

/// Waits until the sandbox is in `state`.
async fn reach(control: &Control, id: &str, state: State) -> SandboxRecord {
    let reached = async {
        loop {
            let record = control.get(&ME, id).await.unwrap();
            if record.state == state {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(10), reached).await {
        Ok(record) => record,
        Err(_) => panic!("{:?} is not {state}", control.get(&ME, id).await.unwrap()),
    }
}

async fn running(control: &Control, spec: SandboxSpec) -> String {
    let id = create(control, spec).await;
    reach(control, &id, State::Running).await;
    id
}

async fn wait(control: &Control, id: &str) -> SandboxRecord {
    tokio::time::timeout(Duration::from_secs(10), control.wait(&ME, id)).await.unwrap().unwrap()
}

/// Runs a command; its output and how it ended.
async fn exec(control: &Control, id: &str, argv: &[&str]) -> Result<(String, ExitStatus), ControlError> {
    let request = ExecRequest { command: main(argv).main, stdin: false, terminal: None };
    let mut exec = control.exec(&ME, id, request).await?;
    let mut output = Vec::new();
    loop {
        match exec.events.next().await? {
            ExecEvent::Stdout(bytes) => output.extend(bytes),
            ExecEvent::Stderr(_) => {}
            ExecEvent::Exit(status) => return Ok((String::from_utf8(output).unwrap(), status)),
        }
    }
}
