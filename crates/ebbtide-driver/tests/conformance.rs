//! The fake driver passes the kit.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ebbtide_driver::conformance::{self, Harness};
use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_driver::{Driver, DriverError};
use ebbtide_model::SandboxId;

#[derive(Default)]
struct Fake {
    world: Mutex<Arc<World>>,
}

#[async_trait]
impl Harness for Fake {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_driver_passes_every_check() {
    let outcomes = conformance::run(&Fake::default()).await;
    outcomes.iter().for_each(|outcome| println!("{outcome}"));
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
}
