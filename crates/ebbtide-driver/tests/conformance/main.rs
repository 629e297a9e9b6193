//! The fake driver passes the kit, and each check of the kit finds the fault that is planted for it.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod fault;
mod faulty;
mod faulty_exec;
mod faulty_files;
mod faulty_guard;
mod faulty_log;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_driver::conformance::{self, CHECKS, Check, Failure, Harness};
use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_driver::{Driver, DriverError, LayeredRoot, Leftover};
use ebbtide_model::SandboxId;
use tokio::sync::Semaphore;

use fault::{FAULTS, Fault};
use faulty::{Faulty, Memory};

/// An image of one layer.
struct Image(tempfile::TempDir);

impl Default for Image {
    fn default() -> Self {
        let store = tempfile::tempdir().unwrap();
        std::fs::create_dir(store.path().join("layer")).unwrap();
        std::fs::write(store.path().join("layer/ebbtide-image"), "image\n").unwrap();
        Self(store)
    }
}

impl Image {
    fn layers(&self) -> LayeredRoot {
        let store = self.0.path().to_owned();
        LayeredRoot { hold: store.join("layer/ebbtide-image"), layers: vec!["layer".to_owned()], store }
    }
}

#[derive(Default)]
struct Honest {
    world: Mutex<Arc<World>>,
    image: Image,
}

#[async_trait]
impl Harness for Honest {
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError> {
        *self.world.lock().unwrap() = Arc::default();
        self.reconnect().await
    }

    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(FakeDriver::on(Arc::clone(&self.world.lock().unwrap()))))
    }

    async fn kill_init(&self, id: &SandboxId) -> bool {
        self.world.lock().unwrap().kill_init(id);
        true
    }

    async fn image(&self) -> Option<LayeredRoot> {
        Some(self.image.layers())
    }
}

/// One world, one fault, one check.
struct Planted {
    fault: Fault,
    memory: Arc<Memory>,
    image: Image,
}

#[async_trait]
impl Harness for Planted {
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.reconnect().await
    }

    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(Faulty::new(self.fault, Arc::clone(&self.memory))))
    }

    async fn kill_init(&self, id: &SandboxId) -> bool {
        self.memory.world.kill_init(id);
        true
    }

    async fn image(&self) -> Option<LayeredRoot> {
        Some(self.image.layers())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }
}

fn check(name: &str) -> &'static Check {
    CHECKS.iter().find(|check| check.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_driver_passes_every_check() {
    let outcomes = conformance::run(&Honest::default()).await;
    outcomes.iter().for_each(|outcome| println!("{outcome}"));
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
}

#[test]
fn every_check_has_a_planted_fault() {
    let found: BTreeSet<_> = FAULTS.iter().map(|(_, check, _)| *check).collect();
    let checks: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(found, checks);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_found_for_what_it_is() {
    // Most of them wait; a few count to millions, and all at once they would make each other late.
    let turns = Arc::new(Semaphore::new(10));
    let running: Vec<_> = FAULTS
        .iter()
        .map(|&(fault, name, words)| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let _turn = turns.acquire().await.unwrap();
                let harness = Planted { fault, memory: Arc::default(), image: Image::default() };
                let outcome = conformance::run_check(&harness, check(name)).await;
                let said = outcome.to_string();
                (!(outcome.failed() && said.contains(words))).then(|| format!("{fault:?}: {said}"))
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for result in running {
        wrong.extend(result.await.unwrap());
    }
    assert!(wrong.is_empty(), "not found, or found for another reason:\n{}", wrong.join("\n"));
}

/// What the runner itself must notice, whatever a check says.
struct Surrounded {
    honest: Honest,
    left: Vec<Leftover>,
}

#[async_trait]
impl Harness for Surrounded {
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.honest.fresh().await
    }

    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.honest.reconnect().await
    }

    async fn independent_leftovers(&self) -> Vec<Leftover> {
        self.left.clone()
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(50)
    }
}

#[tokio::test]
async fn the_runner_finds_what_only_an_independent_look_finds() {
    let left = vec![Leftover { kind: "mount".to_owned(), name: "planted".to_owned() }];
    let surrounded = Surrounded { honest: Honest::default(), left };
    let nothing = Check { name: "nothing", run: |_| Box::pin(async { Ok(()) }) };
    let outcome = conformance::run_check(&surrounded, &nothing).await;
    assert!(outcome.failed() && outcome.to_string().contains("independent look"), "{outcome}");
}

#[tokio::test]
async fn a_check_that_hangs_has_failed() {
    let surrounded = Surrounded { honest: Honest::default(), left: Vec::new() };
    let hangs = Check { name: "hangs", run: |_| Box::pin(std::future::pending()) };
    let outcome = conformance::run_check(&surrounded, &hangs).await;
    assert!(outcome.failed() && outcome.to_string().contains("not over after"), "{outcome}");
}

#[tokio::test]
async fn a_check_that_is_skipped_says_so_and_has_not_failed() {
    let surrounded = Surrounded { honest: Honest::default(), left: Vec::new() };
    let outcome = conformance::run_check(&surrounded, check("killed_init_is_reported")).await;
    assert!(matches!(outcome.result, Err(Failure::Skipped(_))) && !outcome.failed(), "{outcome}");
}
