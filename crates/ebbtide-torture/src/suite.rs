//! The suite: each case in a directory of its own, with everything looked at before and after, and removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bounds::Fence;
use crate::case::{self, Case, IDLE, Scene};
use crate::error::TortureError;
use crate::host::{Found, Hierarchies, Kind, Scope, Snapshot, Table, detach};
use crate::process;
use crate::scorecard::{CaseReport, Release, Scorecard, leaks};
use crate::target::Target;

/// How long the kernel may take to take apart what has been let go of.
const SETTLE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cases to run; all of them if there are none.
    pub cases: Vec<String>,
    /// How long to wait after an event until everything is gone; the target's own default if there is none.
    pub grace: Option<Duration>,
    /// How many owners something happens to in each case.
    pub owners: usize,
    /// How many sandboxes the case `churn` makes.
    pub churn: usize,
    /// Set to end the suite early; it still cleans up.
    pub interrupted: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cases: Vec::new(), grace: None, owners: 3, churn: 20, interrupted: Arc::default() }
    }
}

/// Tortures a target; `progress` is told of each case when it is over.
///
/// Makes the calling process a subreaper and reaps whatever children it has: to be called in a program that has none
/// of its own.
///
/// # Errors
/// When the target cannot be used, or the kernel refuses something to the suite itself.
pub fn run(
    target: &Target,
    options: &Options,
    mut progress: impl FnMut(&CaseReport),
) -> Result<Scorecard, TortureError> {
    if !rustix::process::geteuid().is_root() {
        return Err(TortureError::NeedsRoot);
    }
    let cases = select(&options.cases)?;
    process::adopt_all().map_err(TortureError::io("become the reaper of its children"))?;
    let fence = Fence::raise();
    let mut scorecard = Scorecard::new(target, target.version()?, options);
    for case in cases {
        let report = run_case(target, options, &case)?;
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(TortureError::Interrupted);
        }
        progress(&report);
        scorecard.cases.push(report);
    }
    drop(fence);
    Ok(scorecard)
}

fn select(names: &[String]) -> Result<Vec<Case>, TortureError> {
    let known = |name: &String| case::all().any(|case| case.info.name == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let known = case::cases().map(|case| case.name).collect::<Vec<_>>().join(", ");
        return Err(TortureError::NoSuchCase { name: name.clone(), known });
    }
    let chosen = |case: &Case| names.is_empty() || names.iter().any(|name| name == case.info.name);
    Ok(case::all().filter(chosen).collect())
}

fn run_case(target: &Target, options: &Options, case: &Case) -> Result<CaseReport, TortureError> {
    let began = Instant::now();
    let place = tempfile::Builder::new()
        .prefix("ebb-torture-")
        .tempdir()
        .map_err(TortureError::io("make a directory"))?;
    let directory = place.path().join("target");
    fs::create_dir(&directory).map_err(TortureError::io("make a directory"))?;
    let mut scene = Scene {
        target,
        directory,
        grace: options.grace.unwrap_or_else(|| Duration::from_secs(target.number("GRACE"))),
        hold: Duration::from_secs(target.number("HOLD")),
        churn: options.churn,
        interrupted: &options.interrupted,
        owners: Vec::new(),
        bystander: None,
        scope: Scope::default(),
        cgroups_before: Hierarchies::read().directories(),
        lost: Vec::new(),
        errors: Vec::new(),
        not_applicable: false,
    };
    scene.scope.directory.clone_from(&scene.directory);
    let (left, removed_later) = play(&mut scene, options, case);
    clean_up(&mut scene);
    let gone: Vec<Duration> = scene.owners.iter().filter_map(|owner| owner.gone_after).collect();
    let never = scene.owners.iter().filter(|owner| owner.is_over() && owner.gone_after.is_none()).count();
    Ok(CaseReport::new(
        case.info,
        scene.not_applicable,
        leaks(&left),
        removed_later,
        scene.lost,
        scene.errors,
        Release::of(&gone, never),
        began.elapsed(),
    ))
}

/// Plays it; returns what is left, and how many names the target removed when it was next called.
fn play(scene: &mut Scene<'_>, options: &Options, case: &Case) -> (Vec<Found>, usize) {
    let before = match warm_up(scene) {
        Some(before) => before,
        None => return (Vec::new(), 0),
    };
    if case.bystander {
        scene.bystander = scene.make_owner(IDLE, false);
    }
    for _ in 0..options.owners.max(1) {
        scene.start_owner(case.payload, case.forks);
    }
    if scene.errors.is_empty() {
        // So that the payloads are in the middle of what they do.
        thread::sleep(Duration::from_millis(300));
        (case.act)(scene);
        scene.await_release();
    }
    scene.owners.iter_mut().for_each(|owner| owner.event());
    scene.dismiss_bystander();
    scene.owners.iter_mut().chain(&mut scene.bystander).for_each(|owner| owner.abandon());
    scene.target.call(&scene.directory, "rest", &[]);
    let first = settle(scene, &before);
    // What costs nothing but its name may stay until the target is called again.
    let ghosts = ghosts(scene);
    scene.errors.extend(ghosts);
    if !first.iter().any(|found| found.kind.is_inert()) {
        return (first, 0);
    }
    scene.target.call(&scene.directory, "rest", &[]);
    let second: BTreeSet<Found> = settle(scene, &before).into_iter().collect();
    let (left, removed): (Vec<_>, Vec<_>) =
        first.into_iter().partition(|found| !found.kind.is_inert() || second.contains(found));
    (left, removed.len())
}

/// The sandboxes that the target still lists, after a moment for it to see what has become of them.
fn ghosts(scene: &Scene<'_>) -> Vec<String> {
    let until = Instant::now() + SETTLE;
    loop {
        let listed = scene.target.call(&scene.directory, "list", &[]);
        let names: BTreeSet<&str> = listed.lines().collect();
        let gone = scene.owners.iter().filter(|owner| owner.gone_after.is_some());
        let ghosts: Vec<&str> =
            gone.map(|owner| owner.sandbox.as_str()).filter(|name| names.contains(name)).collect();
        if ghosts.is_empty() || Instant::now() > until {
            return ghosts.into_iter().map(|name| format!("{name} is listed though it is gone")).collect();
        }
        thread::sleep(PAUSE);
    }
}

/// Sets the target up and makes one sandbox, so that what the target keeps for good is there before anything counts.
fn warm_up(scene: &mut Scene<'_>) -> Option<Snapshot> {
    let answer = scene.target.call(&scene.directory, "setup", &[]);
    if let Some(failure) = answer.failure() {
        scene.error(format!("setup: {failure}"));
        return None;
    }
    let index = scene.start_owner(IDLE, false)?;
    scene.stop(index..index + 1, 1);
    scene.await_release();
    scene.owners.drain(..).for_each(|mut owner| owner.abandon());
    let directories = scene.target.call(&scene.directory, "directories", &[]);
    scene.scope.files = directories.lines().map(PathBuf::from).collect();
    scene.target.call(&scene.directory, "rest", &[]);
    thread::sleep(PAUSE);
    scene.scope.cgroups.clear();
    scene.cgroups_before = Hierarchies::read().directories();
    Some(Snapshot::take(&scene.scope))
}

/// What is left and does not go within a moment.
fn settle(scene: &Scene<'_>, before: &Snapshot) -> Vec<Found> {
    let until = Instant::now() + SETTLE;
    loop {
        let mut left = Snapshot::take(&scene.scope).since(before);
        for found in scene.remains() {
            if !left.contains(&found) {
                left.push(found);
            }
        }
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        thread::sleep(PAUSE);
    }
}

/// Removes what there still is: as the target does, then by force.
fn clean_up(scene: &mut Scene<'_>) {
    scene.target.call(&scene.directory, "clean", &[]);
    let until = Instant::now() + SETTLE;
    loop {
        let table = Table::read();
        let mut pids = table.descendants(std::process::id());
        pids.extend(scene.owners.iter().flat_map(|owner| {
            let remains = owner.remains(&table);
            let pids = remains.iter().filter(|found| found.kind == Kind::Process);
            pids.filter_map(|found| found.name.split(' ').next()?.parse().ok()).collect::<Vec<u32>>()
        }));
        if pids.is_empty() || Instant::now() > until {
            break;
        }
        pids.into_iter().for_each(|pid| process::kill(pid, Signal::KILL));
        thread::sleep(PAUSE);
    }
    remove_cgroups(&scene.scope.cgroups);
    if let Some(place) = scene.directory.parent() {
        detach(place);
    }
    for file in &scene.scope.files {
        if !file.starts_with(&scene.directory) && file.starts_with("/run") {
            let _ = fs::remove_dir_all(file);
        }
    }
}

fn remove_cgroups(seen: &BTreeSet<PathBuf>) {
    let there = Hierarchies::read().directories();
    // Children after their parents: removed the other way round.
    for path in there.iter().rev().filter(|path| seen.iter().any(|seen| path.starts_with(seen))) {
        let _ = fs::remove_dir(path);
    }
}
