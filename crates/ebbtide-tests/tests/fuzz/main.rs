//! The request path of a real daemon under arbitrary input: any bytes as each message of every method, any order of
//! messages in a stream, any bytes on a connection. Nothing panics, no call outlives its deadline, nothing is left.
//!
//! `EBBTIDE_TEST_FUZZ_SECONDS` says for how long (5). A case that fails names its seed; with
//! `EBBTIDE_TEST_FUZZ_CASE=SEED` only that case runs, with the same bytes in the same order.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod call;
mod exec;
mod lease;
mod logs;
mod message;
mod noise;
mod schema;
mod unary;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ebbtide_tests::{Machine, holds_within, scale};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::World;

const WORKERS: usize = 8;
/// No case takes longer: each of its calls has a deadline of less than a second.
const CASE: Duration = Duration::from_secs(60);
/// After so many cases of one worker, what they have made is ended.
const SWEEP: usize = 100;

#[test]
fn arbitrary_requests_break_nothing_leave_nothing_and_never_hang() {
    let machine = Machine::take();
    let home = machine.home();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = Arc::new(runtime.block_on(World::new(&home)));
    let daemon = home.daemon().unwrap();
    match std::env::var("EBBTIDE_TEST_FUZZ_CASE") {
        Ok(seed) => runtime.block_on(case(&world, seed.parse().expect("a seed"))),
        Err(_) => {
            let budget = Duration::from_secs(scale("EBBTIDE_TEST_FUZZ_SECONDS", 5) as u64);
            let cases = runtime.block_on(fuzz(&world, budget));
            eprintln!("{cases} cases");
            assert!(cases > WORKERS, "the budget of {budget:?} is too small");
        }
    }
    assert_eq!(home.daemon(), Some(daemon), "the daemon has been replaced");
    let log = std::fs::read_to_string(home.state_dir().join("daemon.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    runtime.block_on(world.sweep());
    let processes = |id: &str| home.exec(id, "echo /proc/[0-9]*").run().ok();
    let (target, fresh) = (runtime.block_on(world.target()), home.create(&[]));
    let idle = processes(&fresh).split(' ').count();
    let over = holds_within(CASE, || processes(&target).split(' ').count() == idle);
    assert!(over, "commands run on: {}", processes(&target));
    let _ = home.ebb(["doctor"]).run().exited(0);
    drop((world, runtime));
    home.shutdown();
    machine.assert_nothing_left();
}

/// Runs cases until the budget is used up; returns how many.
async fn fuzz(world: &Arc<World>, budget: Duration) -> usize {
    let deadline = Instant::now() + budget;
    let mut seeds = Rng::new();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (world, mut seeds) = (Arc::clone(world), seeds.fork());
        workers.spawn(async move {
            let mut cases = 0;
            while Instant::now() < deadline {
                case(&world, seeds.u64(..)).await;
                cases += 1;
                if cases % SWEEP == 0 {
                    world.sweep().await;
                }
            }
            cases
        });
    }
    workers.join_all().await.into_iter().sum()
}

/// One case, all of which follows from its seed.
async fn case(world: &Arc<World>, seed: u64) {
    let task = tokio::spawn({
        let world = Arc::clone(world);
        async move {
            let mut rng = Rng::with_seed(seed);
            match rng.u8(0..12) {
                0..6 => unary::run(&world, &mut rng).await,
                6..9 => exec::run(&world, &mut rng).await,
                9 => logs::run(&world, &mut rng).await,
                10 => lease::run(&world, &mut rng).await,
                _ => noise::run(&world, &mut rng).await,
            }
            world.answers().await;
        }
    });
    match timeout(CASE, task).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => panic!("EBBTIDE_TEST_FUZZ_CASE={seed}: {panic}"),
        Err(_) => panic!("EBBTIDE_TEST_FUZZ_CASE={seed}: is stuck"),
    }
}
