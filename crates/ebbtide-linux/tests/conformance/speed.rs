//! How long it takes from a create to the answer of the first command, by what the root is made of. Not a check: the
//! machine has to be quiet, and the build one for release.
//!
//! `cargo test --release -p ebbtide-linux --test conformance -- --ignored --nocapture speed`

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ebbtide_driver::{Driver, ExecEvent, ExecRequest, RootImage, SandboxPlan};
use ebbtide_model::Command;

use crate::home::Linux;
use crate::layers::stacked;
use crate::users::{Test, create, destroy, driver, plan, tests};

pub(crate) const TESTS: &[Test] = tests![speed];

/// How often each is measured.
const ROUNDS: usize = 60;
/// As long as a pool needs to be full again, and as nobody waits for.
const PAUSE: Duration = Duration::from_millis(60);

async fn speed(linux: &Linux) {
    let images: Vec<(String, RootImage)> = [1, 20, 127]
        .map(|count| (format!("{count} layers"), RootImage::Layers(stacked(linux, count))))
        .into_iter()
        .chain([("host".to_owned(), RootImage::Host)])
        .collect();
    for slots in [0, 2] {
        linux.slots_ahead.store(slots, Ordering::SeqCst);
        linux.kill_launcher();
        let driver = driver(linux).await;
        let mut times = vec![Vec::new(); images.len()];
        // Side by side, so that whatever else goes on meets all of them.
        for _ in 0..ROUNDS {
            for ((_, image), times) in images.iter().zip(&mut times) {
                let plan = SandboxPlan { image: image.clone(), ..plan(&linux.images.image("any", &[])) };
                tokio::time::sleep(PAUSE).await;
                let begun = Instant::now();
                create(&driver, &plan).await;
                let created = begun.elapsed();
                run(&driver, &plan).await;
                times.push((begun.elapsed(), created));
                destroy(&driver, &plan.id).await;
            }
        }
        for ((name, _), mut times) in images.iter().zip(times) {
            times.sort_unstable();
            let (median, created) = times[times.len() / 2];
            let (least, most) = (times[0].0, times[times.len() * 9 / 10].0);
            println!(
                "{slots} ahead, {name:>10}: median {median:.2?} (create {created:.2?}), least {least:.2?}, p90 {most:.2?}"
            );
        }
    }
}

async fn run(driver: &Arc<dyn Driver>, plan: &SandboxPlan) {
    let command = Command { argv: ["busybox", "true"].map(str::to_owned).to_vec(), ..Command::default() };
    let request = ExecRequest { command, stdin: false, terminal: None };
    let mut exec = driver.exec(&plan.id, request).await.unwrap();
    while !matches!(exec.events.next().await.unwrap(), ExecEvent::Exit(_)) {}
}
