//! Random operations, faults and crashes: whatever happens, no sandbox that was answered is ever unknown, no
//! terminal record ever changes, and a purge leaves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_driver::DriverError;
use ebbtide_driver::fake::Call;
use ebbtide_model::{SandboxId, StopOptions};
use proptest::prelude::*;

use super::*;
use crate::PurgeFilter;

#[derive(Debug, Clone)]
enum Step {
    Create { kind: usize, request: Option<u8> },
    Stop { which: usize, grace: u64 },
    Freeze { which: usize },
    Thaw { which: usize },
    CloseSession { which: usize },
    Purge,
    KillInit { which: usize },
    Vanish { which: usize },
    Fail { call: usize, transient: bool },
    Pause { millis: u64 },
    Reconcile,
    Crash,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_usize, prop::option::of(0..4_u8))
            .prop_map(|(kind, request)| Step::Create { kind, request }),
        3 => (any::<usize>(), prop::sample::select(vec![0, 0, 5, 10_000]))
            .prop_map(|(which, grace)| Step::Stop { which, grace }),
        2 => any::<usize>().prop_map(|which| Step::Freeze { which }),
        1 => any::<usize>().prop_map(|which| Step::Thaw { which }),
        2 => any::<usize>().prop_map(|which| Step::CloseSession { which }),
        1 => Just(Step::Purge),
        1 => any::<usize>().prop_map(|which| Step::KillInit { which }),
        1 => any::<usize>().prop_map(|which| Step::Vanish { which }),
        2 => (0..6_usize, any::<bool>()).prop_map(|(call, transient)| Step::Fail { call, transient }),
        3 => (0..8_u64).prop_map(|millis| Step::Pause { millis }),
        1 => Just(Step::Reconcile),
        2 => Just(Step::Crash),
        1 => Just(Step::Close),
    ]
}

fn spec(kind: usize) -> SandboxSpec {
    match kind {
        0 => idle(),
        1 => {
            let mut spec = main(&["sleep", "60"]);
            spec.annotations.insert(ebbtide_model::KEEP_ANNOTATION.to_owned(), "always".to_owned());
            spec
        }
        2 => main(&["sh", "-c", "sleep 0.004; exit 3"]),
        3 => main(&["no-such-program"]),
        4 => {
            let mut spec = main(&["sh", "-c", "sleep 0.004; exit 3"]);
            spec.annotations.insert(ebbtide_model::KEEP_ANNOTATION.to_owned(), "on_failure".to_owned());
            spec
        }
        _ => SandboxSpec { max_lifetime: Some(Duration::from_millis(6)), ..main(&["sleep", "60"]) },
    }
}

/// What a client remembers of its answers.
#[derive(Default)]
struct Client {
    seen: BTreeMap<SandboxId, SandboxRecord>,
}

impl Client {
    async fn check(&mut self, control: &Control) {
        for (id, before) in &mut self.seen {
            let now = control.get(&ME, id.as_str()).await.unwrap();
            if before.state.is_terminal() {
                assert_eq!(now, *before, "a terminal record changed");
            }
            assert_eq!(now.state.is_terminal(), now.ended_at.is_some(), "{now:?}");
            assert!(!now.state.is_terminal() || now.reason.is_some(), "{now:?}");
            *before = now;
        }
    }

    fn pick(&self, which: usize) -> Option<SandboxId> {
        let count = self.seen.len();
        self.seen.keys().nth(which.checked_rem(count)?).cloned()
    }
}

async fn run(steps: Vec<Step>) {
    let mut home = Home::new();
    home.config.timing.mark = Duration::from_millis(1);
    home.config.max_concurrent_creates = 2;
    home.config.timing.stop_margin = Duration::from_millis(20);
    home.world.delay_creates(Duration::from_millis(1));
    let mut control = home.open().await;
    let mut client = Client::default();
    for step in steps {
        match step {
            Step::Create { kind, request } => {
                let request = request.map(|request| format!("{kind}-{request}")).unwrap_or_default();
                let record = control.create(&ME, spec(kind), &request).await.unwrap();
                client.seen.entry(record.id.clone()).or_insert(record);
            }
            Step::Stop { which, grace } => {
                if let Some(id) = client.pick(which) {
                    let options = StopOptions { grace: Duration::from_millis(grace) };
                    control.stop(&ME, id.as_str(), options).await.unwrap();
                }
            }
            // What has ended, or is ending, can be neither; that it stays so is checked after each step.
            Step::Freeze { which } => {
                if let Some(id) = client.pick(which) {
                    let _ = control.pause(&ME, id.as_str()).await;
                }
            }
            Step::Thaw { which } => {
                if let Some(id) = client.pick(which) {
                    let _ = control.resume(&ME, id.as_str()).await;
                }
            }
            Step::CloseSession { which } => {
                if let Some(id) = client.pick(which) {
                    let closing = crate::Asked { by: None, occasion: crate::Occasion::Session };
                    let _ = control.stop_as(&ME, id.as_str(), StopOptions::NOW, closing).await;
                }
            }
            Step::Purge => {
                let filter = PurgeFilter { tags: vec![], all: true };
                assert_eq!(
                    control.purge(&ME, filter, false, &crate::Asked::default()).await.unwrap().failed,
                    []
                );
            }
            Step::KillInit { which } => {
                if let Some(id) = client.pick(which) {
                    home.world.kill_init(&id);
                }
            }
            Step::Vanish { which } => {
                if let Some(id) = client.pick(which) {
                    use ebbtide_driver::Driver;
                    let _ = FakeDriver::on(Arc::clone(&home.world)).destroy(&id).await;
                }
            }
            Step::Fail { call, transient } => {
                let call =
                    [Call::Create, Call::Destroy, Call::Ended, Call::Stop, Call::MainEnded, Call::Guard]
                        [call];
                let error = match transient {
                    true => DriverError::Unavailable("a planted fault".to_owned()),
                    false => DriverError::Protocol("a planted fault".to_owned()),
                };
                home.world.fail_next(call, error);
            }
            Step::Pause { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
            Step::Reconcile => drop(control.reconcile().await.unwrap()),
            Step::Crash => {
                crash(control).await;
                control = home.open().await;
            }
            Step::Close => {
                control.close().await;
                control = home.open().await;
            }
        }
        client.check(&control).await;
    }
    let done = control
        .purge(&ME, PurgeFilter { tags: vec![], all: true }, false, &crate::Asked::default())
        .await
        .unwrap();
    assert_eq!((done.failed, done.retryable), (vec![], vec![]));
    client.check(&control).await;
    for record in client.seen.values() {
        assert!(record.state.is_terminal(), "{record:?}");
    }
    control.reconcile().await.unwrap();
    assert_eq!(home.exists().await, 0, "left in the world");
    assert_eq!(*control.live().borrow(), 0, "left in memory");
    assert_eq!(crate::ledger::read_only(&home.config.ledger).unwrap().len(), client.seen.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_answered_id_is_lost_and_no_terminal_state_left(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
