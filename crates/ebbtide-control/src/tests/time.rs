//! The wall clock is set, forward and back, under a daemon and between two; the machine sleeps.

use std::time::{Duration, SystemTime};

use ebbtide_model::{
    DETACH_ANNOTATION, Holder, IDLE_TIMEOUT_ANNOTATION, KEEP_ANNOTATION, ON_IDLE_ANNOTATION,
    ORPHAN_GRACE_ANNOTATION, OrphanReason, OwnerProcess, Ownership, ProcessStat, StopOptions,
    TerminationReason,
};

use super::clocks::SetClocks;
use super::*;
use crate::{Asked, Clocks, DeadlineKind, EventFilter, EventItem, ListFilter, Occasion};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// More than this machine is ever late, and less than any step of a clock here.
const NEARLY: Duration = Duration::from_secs(600);

/// A home whose clocks are the test's.
fn home() -> (Home, Arc<SetClocks>) {
    let mut home = Home::new();
    let clocks = Arc::new(SetClocks::new());
    home.config.clocks = Arc::<SetClocks>::clone(&clocks);
    (home, clocks)
}

fn annotated(mut spec: SandboxSpec, annotations: &[(&str, &str)]) -> SandboxSpec {
    let owned = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    spec.annotations.extend(owned);
    spec
}

/// A process that lives for as long as the test does.
fn living() -> OwnerProcess {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    OwnerProcess { pid: std::process::id(), start_time: ProcessStat::parse(&stat).unwrap().start_time }
}

/// Makes an orphan of a sandbox, whose owner elsewhere has lost its connection.
fn orphan(control: &Control, id: &str, grace: Duration) {
    let engine = control.engine();
    let sandbox = Arc::clone(&engine.live()[&id.parse().unwrap()]);
    let since = engine.time.now();
    let by = Holder { lease: None, process: None, label: "somebody elsewhere".to_owned() };
    let why = OrphanReason::ConnectionLost;
    let orphaned = Ownership::Orphaned { by, adopted: false, why, since, until: since + grace };
    sandbox.change(&engine.store, |record| record.ownership = orphaned).unwrap();
    crate::lease::attend(engine, &sandbox);
}

/// A sandbox in each state in which something waits, with the deadline that it waits for and how far that is.
async fn one_of_each(control: &Control) -> Vec<(String, State, DeadlineKind, Duration)> {
    let hour = Duration::from_secs(3600);
    let lives = SandboxSpec { max_lifetime: Some(2 * hour), ..main(&["sleep", "600"]) };
    let mut owned = idle();
    living().annotate(&mut owned.annotations);
    let orphaned = running(control, annotated(idle(), &[(ORPHAN_GRACE_ANNOTATION, "3600")])).await;
    orphan(control, &orphaned, hour);
    let waits = [(IDLE_TIMEOUT_ANNOTATION, "3600"), (ON_IDLE_ANNOTATION, "stop")];
    let kept = running(control, annotated(idle(), &[(KEEP_ANNOTATION, "always")])).await;
    let asked = Asked { by: None, occasion: Occasion::Session };
    control.stop_as(&ME, &kept, StopOptions::NOW, asked).await.unwrap();
    let paused = running(control, idle()).await;
    control.pause(&ME, &paused).await.unwrap();
    let stubborn = running(control, main(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"])).await;
    control.stop(&ME, &stubborn, StopOptions { grace: hour }).await.unwrap();
    vec![
        (running(control, lives).await, State::Running, DeadlineKind::Lifetime, 2 * hour),
        (running(control, owned).await, State::Running, DeadlineKind::Lifetime, 24 * hour),
        (
            running(control, annotated(idle(), &[(DETACH_ANNOTATION, "true")])).await,
            State::Running,
            DeadlineKind::Lifetime,
            hour,
        ),
        (orphaned, State::Running, DeadlineKind::OrphanGrace, hour),
        (running(control, annotated(idle(), &waits)).await, State::Running, DeadlineKind::Idle, hour),
        (kept, State::Paused, DeadlineKind::Keep, hour),
        (paused, State::Paused, DeadlineKind::Lifetime, hour),
        (stubborn, State::Terminating, DeadlineKind::StopGrace, hour),
    ]
}

fn is_near(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).unwrap_or_else(|error| error.duration());
    apart < NEARLY
}

/// Lets every task look at what time it is.
async fn settle(control: &Control) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    crate::sweep::forget(control.engine()).await.unwrap();
    control.reconcile().await.unwrap();
}

#[tokio::test]
async fn a_wall_clock_that_is_set_harms_nobody_and_what_is_shown_follows_it() {
    let (home, clocks) = home();
    let mut control = home.open().await;
    let each = one_of_each(&control).await;
    let gone = running(&control, idle()).await;
    control.stop(&ME, &gone, StopOptions::NOW).await.unwrap();
    wait(&control, &gone).await;
    // Under the daemon, and then while there is none.
    for (hours, restart) in [(24, false), (-48, false), (72, true), (-30 * 24, true), (1, false), (0, true)] {
        if restart {
            control.close().await;
            clocks.set_unnoticed(hours);
            control = home.open().await;
        } else {
            clocks.set(hours);
        }
        settle(&control).await;
        let now = clocks.wall();
        for (id, state, kind, left) in &each {
            let described = control.describe(&ME, id).await.unwrap();
            let what = format!("{hours} {restart}: {described:?}");
            assert_eq!(described.record.state, *state, "{what}");
            let deadline = described.deadlines.iter().find(|deadline| deadline.kind == *kind).unwrap();
            assert!(is_near(deadline.at, now + *left), "{what}");
            assert!(is_near(described.record.created_at, now), "{what}");
        }
        // Its record is as old as before.
        let ended = control.get(&ME, &gone).await.unwrap().ended_at.unwrap();
        assert!(is_near(ended, now), "{hours} {restart}");
    }
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_sleep_of_the_machine_counts_for_lifetimes_and_what_is_kept_and_for_no_grace() {
    let (home, clocks) = home();
    let control = home.open().await;
    let each = one_of_each(&control).await;
    clocks.sleep(DAY / 2);
    let ends = |(_, _, kind, _): &&(String, State, DeadlineKind, Duration)| *kind == DeadlineKind::Keep;
    let (kept, detached) = (each.iter().find(ends).unwrap(), &each[2]);
    assert_eq!(wait(&control, &kept.0).await.reason, Some(TerminationReason::KeepExpired));
    assert_eq!(wait(&control, &detached.0).await.reason, Some(TerminationReason::LifetimeExpired));
    settle(&control).await;
    for (id, state, kind, _) in each {
        if [DeadlineKind::OrphanGrace, DeadlineKind::Idle, DeadlineKind::StopGrace].contains(&kind) {
            assert_eq!(control.get(&ME, &id).await.unwrap().state, state, "{kind:?}");
        }
    }
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_owner_elsewhere_has_its_whole_grace_after_a_sleep_of_the_machine() {
    let (home, clocks) = home();
    let control = home.open().await;
    let grace = Duration::from_secs(2);
    let [slept, awake] = [(); 2].map(|()| annotated(idle(), &[(ORPHAN_GRACE_ANNOTATION, "2")]));
    let slept = running(&control, slept).await;
    orphan(&control, &slept, grace);
    clocks.sleep(DAY / 48);
    let awake = running(&control, awake).await;
    orphan(&control, &awake, grace);
    // It would have gone first.
    assert_eq!(wait(&control, &awake).await.reason, Some(TerminationReason::OwnerGone));
    assert_eq!(control.get(&ME, &slept).await.unwrap().state, State::Running);
    assert_eq!(wait(&control, &slept).await.reason, Some(TerminationReason::OwnerGone));
}

#[tokio::test]
async fn an_owner_elsewhere_has_its_whole_grace_after_the_daemon_was_stopped() {
    let home = Home::new();
    let control = home.open().await;
    let id = running(&control, annotated(idle(), &[(ORPHAN_GRACE_ANNOTATION, "1")])).await;
    orphan(&control, &id, Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Nothing else of the daemon runs meanwhile.
    std::thread::sleep(Duration::from_secs(5));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(control.get(&ME, &id).await.unwrap().state, State::Running);
    assert_eq!(wait(&control, &id).await.reason, Some(TerminationReason::OwnerGone));
}

#[tokio::test]
async fn a_record_is_retained_for_its_time_whatever_the_wall_clock_is_set_to() {
    for hours in [24, -24] {
        let (mut home, clocks) = home();
        home.config.limits.retention = Duration::from_millis(500);
        let control = home.open().await;
        let id = running(&control, idle()).await;
        control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
        wait(&control, &id).await;
        clocks.set(hours);
        assert_eq!(crate::sweep::forget(control.engine()).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(crate::sweep::forget(control.engine()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn what_ended_in_an_earlier_boot_is_shown_as_the_clock_was_set_last() {
    let (mut home, clocks) = home();
    clocks.set(-400 * 24);
    let control = home.open().await;
    let id = running(&control, idle()).await;
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
    // A machine that does not know the time until it is connected.
    clocks.set(400 * 24);
    settle(&control).await;
    control.close().await;
    home.config.boot_id = "boot-2".to_owned();
    let control = home.open().await;
    settle(&control).await;
    let ended = control.get(&ME, &id).await.unwrap().ended_at.unwrap();
    assert!(is_near(ended, clocks.wall()), "{ended:?}");
}

#[tokio::test]
async fn events_and_listings_stay_in_order_although_the_clock_goes_back() {
    let (home, clocks) = home();
    let mut control = home.open().await;
    let mut made = Vec::new();
    for hours in [0, -24, 48, -48] {
        clocks.set(hours);
        settle(&control).await;
        made.push(running(&control, idle()).await);
    }
    let mut events = control.events(&ME, EventFilter::default());
    let times: Vec<_> = std::iter::from_fn(|| events.try_next())
        .filter_map(|item| match item {
            EventItem::Event(event) => Some(event.at),
            EventItem::Missed(_) => None,
        })
        .collect();
    assert!(times.len() >= 8 && times.is_sorted(), "{times:?}");
    control.close().await;
    clocks.set_unnoticed(-240);
    control = home.open().await;
    for _ in 0..5 {
        made.push(running(&control, idle()).await);
    }
    let page = control.list(&ME, ListFilter::default()).await.unwrap();
    let listed: Vec<_> = page.records.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(listed, made);
    control.shutdown().await.unwrap();
}
