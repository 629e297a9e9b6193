//! How long it takes from the create of a sandbox to the answer of its first command, by what it is made of.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::Rounds;
use super::layout;
use crate::Error;
use crate::daemon::Daemon;
use crate::leftovers;
use crate::measure::GAP;
use crate::stats::Samples;

/// What sandboxes are made of: the machine's own programs, and images of so many layers.
pub(super) const SOURCES: [Option<usize>; 4] = [None, Some(1), Some(20), Some(127)];

/// What was measured, in turns.
pub(super) struct Starts {
    /// Whether sandboxes are made ahead, and each start comes to an idle machine.
    pub(super) pools: bool,
    /// In the order of [`SOURCES`].
    pub(super) samples: [Samples; SOURCES.len()],
}

pub(super) async fn measure(ebb: &Path, rounds: Rounds, pools: bool) -> Result<Starts, Error> {
    let place = super::place()?;
    let state_dir = place.path().join("home");
    let settings = if pools { "" } else { "[runtime]\npool_slots = 0\n" };
    let daemon = Daemon::start_with(ebb, &state_dir, settings).await?;
    let measured = tokio::select! {
        measured = contest(&daemon, rounds, pools, place.path()) => measured,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    let ended = daemon.shutdown();
    let left = leftovers::find(&[&daemon.home_id], &state_dir);
    let samples = measured?;
    ended?;
    if left.is_empty() { Ok(Starts { pools, samples }) } else { Err(Error::Leftovers(left.join("\n"))) }
}

async fn contest(
    daemon: &Daemon,
    rounds: Rounds,
    pools: bool,
    place: &Path,
) -> Result<[Samples; SOURCES.len()], Error> {
    let mut names = Vec::new();
    for layers in SOURCES {
        let Some(layers) = layers else {
            names.push("host".to_owned());
            continue;
        };
        let (directory, name) = (place.join(format!("layers-{layers}")), format!("bench-{layers}:latest"));
        layout::write(&directory, layout::runnable(layers)?)?;
        super::pull::run(daemon.command(&["image", "load"]).arg(&directory).arg(&name))?;
        names.push(name);
    }
    for name in &names {
        daemon.once_from(name).await?;
    }
    let mut samples = <[Samples; SOURCES.len()]>::default();
    for round in 0..rounds.starts {
        eprint!("\rstarts, pools {pools}: {}/{} ", round + 1, rounds.starts);
        for turn in 0..names.len() {
            let source = (turn + round) % names.len();
            let mut times = Vec::with_capacity(rounds.block);
            for _ in 0..rounds.block {
                sleep(if pools { GAP } else { Duration::ZERO }).await;
                times.push(daemon.once_from(&names[source]).await?.answered);
            }
            samples[source].add_round(&times);
        }
    }
    eprintln!();
    Ok(samples)
}
