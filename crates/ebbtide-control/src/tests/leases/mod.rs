//! Who stands for a sandbox: leases held, lost, resumed and let go; orphans, and who takes them over.

mod restart;
mod taking_over;

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ebbtide_driver::fake::Call;
use ebbtide_driver::{DeadMansSwitch, DriverError};
use ebbtide_model::{
    DETACH_ANNOTATION, ErrorReason, Holder, ORPHAN_GRACE_ANNOTATION, OrphanReason, OwnerProcess, Ownership,
    ProcessStat, SandboxId, TerminationReason,
};
use tokio::sync::watch;

use super::*;
use crate::{Adopter, EventFilter, EventItem, EventKind, HeldLease, Owners};

/// Processes that end when a test says so. To the fake driver they are this test's own process, which lives.
#[derive(Default)]
struct Processes {
    ended: watch::Sender<HashSet<OwnerProcess>>,
    refuse: Mutex<bool>,
}

impl Processes {
    fn end(&self, process: OwnerProcess) {
        self.ended.send_modify(|ended| {
            ended.insert(process);
        });
    }
}

#[async_trait]
impl Owners for Processes {
    async fn ended(&self, process: OwnerProcess) -> io::Result<()> {
        if std::mem::take(&mut *self.refuse.lock().unwrap()) {
            return Err(io::Error::other("too many open files"));
        }
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| ended.contains(&process)).await.unwrap();
        Ok(())
    }

    fn is_gone(&self, process: OwnerProcess) -> bool {
        self.ended.borrow().contains(&process)
    }
}

fn me() -> OwnerProcess {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    OwnerProcess { pid: std::process::id(), start_time: ProcessStat::parse(&stat).unwrap().start_time }
}

/// A home whose owners are the test's, with a grace of a moment.
fn home() -> (Home, Arc<Processes>) {
    let mut home = Home::new();
    let processes = Arc::<Processes>::default();
    home.config.owners = Arc::<Processes>::clone(&processes);
    home.config.limits.owner_grace = Duration::from_millis(300);
    home.config.limits.daemon_grace = Duration::from_millis(700);
    (home, processes)
}

fn patient(seconds: u64) -> SandboxSpec {
    let mut spec = idle();
    spec.annotations.insert(ORPHAN_GRACE_ANNOTATION.to_owned(), seconds.to_string());
    spec
}

fn elsewhere(control: &Control) -> HeldLease {
    control.open_lease(&ME, None, "a test elsewhere").unwrap()
}

async fn make(control: &Control, spec: SandboxSpec, lease: &HeldLease) -> String {
    let token = lease.token().expose();
    let id = control.create_under(&ME, spec, "", Some(token)).await.unwrap().id.to_string();
    reach(control, &id, State::Running).await;
    id
}

/// Waits until the ownership of a sandbox is of `kind`.
async fn owned_as(control: &Control, id: &str, kind: &str) -> Ownership {
    let reached = async {
        loop {
            let ownership = control.get(&ME, id).await.unwrap().ownership;
            if ownership.kind() == kind {
                return ownership;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(10), reached).await {
        Ok(ownership) => ownership,
        Err(_) => panic!("{:?} is not {kind}", control.get(&ME, id).await.unwrap()),
    }
}

fn orphaned_how(ownership: &Ownership) -> OrphanReason {
    match ownership {
        Ownership::Orphaned { why, since, until, .. } => {
            assert!(until > since, "{ownership:?}");
            *why
        }
        other => panic!("{other:?}"),
    }
}

fn switch(home: &Home, id: &str) -> DeadMansSwitch {
    home.world.switch(&id.parse::<SandboxId>().unwrap()).unwrap()
}

fn reason(error: ControlError) -> ErrorReason {
    error.reason()
}

#[tokio::test]
async fn the_end_of_a_local_owner_orphans_at_once_and_ends_after_the_grace() {
    let (home, processes) = home();
    let control = home.open().await;
    let lease = control.open_lease(&ME, Some(me()), "python3").unwrap();
    assert!(lease.is_local());
    let id = make(&control, idle(), &lease).await;
    assert_eq!(
        switch(&home, &id),
        DeadMansSwitch::Process { process: me(), grace: Duration::from_millis(300) }
    );
    let begun = Instant::now();
    processes.end(me());
    let ownership = owned_as(&control, &id, "orphaned").await;
    assert!(begun.elapsed() < Duration::from_millis(200));
    assert_eq!(orphaned_how(&ownership), OrphanReason::ProcessEnded);
    assert_eq!(ownership.holder().unwrap().label, "python3");
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::OwnerGone)));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(home.exists().await, 0);
}

#[tokio::test]
async fn the_stream_of_a_local_owner_may_end_and_its_token_stays_good_for_as_long_as_the_process_lives() {
    let (home, processes) = home();
    let control = home.open().await;
    let lease = control.open_lease(&ME, Some(me()), "").unwrap();
    let token = lease.token().expose().to_owned();
    let id = make(&control, idle(), &lease).await;
    drop(lease);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(control.get(&ME, &id).await.unwrap().ownership.kind(), "owned");
    let other = control.create_under(&ME, idle(), "", Some(&token)).await.unwrap();
    assert_eq!(other.ownership.kind(), "owned");
    // Also with the next daemon, but only for the process itself.
    control.close().await;
    let control = home.open().await;
    assert_eq!(control.get(&ME, &id).await.unwrap().ownership.kind(), "owned");
    control.create_under(&ME, idle(), "", Some(&token)).await.unwrap();
    assert!(control.resume_lease(&ME, Some(me()), &token).await.unwrap().is_local());
    let forked = OwnerProcess { pid: 1, ..me() };
    let refused = control.resume_lease(&ME, Some(forked), &token).await.unwrap_err();
    assert_eq!(reason(refused), ErrorReason::LeaseInvalid);
    processes.end(me());
    assert_eq!(orphaned_how(&owned_as(&control, &id, "orphaned").await), OrphanReason::ProcessEnded);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_owner_elsewhere_that_comes_back_in_time_owns_again_what_it_owned() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let (token, id) = (lease.token().expose().to_owned(), make(&control, patient(60), &lease).await);
    assert_eq!(switch(&home, &id), DeadMansSwitch::Daemon { grace: Duration::from_secs(60) });
    drop(lease);
    assert_eq!(orphaned_how(&owned_as(&control, &id, "orphaned").await), OrphanReason::ConnectionLost);
    let lease = control.resume_lease(&ME, None, &token).await.unwrap();
    assert_eq!(control.get(&ME, &id).await.unwrap().ownership.kind(), "owned");
    assert_eq!(lease.token().expose(), token);
    // What the old stream does from now on is of no matter.
    let again = control.resume_lease(&ME, None, &token).await.unwrap();
    drop(lease);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(control.get(&ME, &id).await.unwrap().ownership.kind(), "owned");
    drop(again);
    owned_as(&control, &id, "orphaned").await;
    let kinds: Vec<_> = std::iter::from_fn({
        let mut events = control.events(&ME, EventFilter::default());
        move || events.try_next()
    })
    .filter_map(|item| match item {
        EventItem::Event(event) => Some(event.kind),
        EventItem::Missed(_) => None,
    })
    .filter(|kind| matches!(kind, EventKind::Orphaned(_) | EventKind::Adopted))
    .collect();
    let lost = EventKind::Orphaned(OrphanReason::ConnectionLost);
    assert_eq!(kinds, [lost, EventKind::Adopted, lost]);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_owner_elsewhere_that_comes_back_too_late_is_refused() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let (token, id) = (lease.token().expose().to_owned(), make(&control, idle(), &lease).await);
    let lease_id = lease.id().clone();
    drop(lease);
    let ended = wait(&control, &id).await;
    assert_eq!(ended.reason, Some(TerminationReason::OwnerGone));
    let refused = control.resume_lease(&ME, None, &token).await.unwrap_err();
    assert_eq!(reason(refused), ErrorReason::LeaseInvalid);
    assert!(!control.engine().store.has_lease(&lease_id));
}

#[tokio::test]
async fn a_lease_that_is_let_go_orphans_and_its_token_proves_nothing_any_more() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let (token, id) = (lease.token().expose().to_owned(), make(&control, patient(60), &lease).await);
    lease.release();
    assert_eq!(orphaned_how(&owned_as(&control, &id, "orphaned").await), OrphanReason::Released);
    for refused in [
        control.resume_lease(&ME, None, &token).await.map(drop).unwrap_err(),
        control.create_under(&ME, idle(), "", Some(&token)).await.map(drop).unwrap_err(),
        control.adopt(&ME, &id, &Adopter::Lease(token.clone())).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(reason(refused), ErrorReason::LeaseInvalid);
    }
    assert_eq!(control.holder(&ME, &token), None);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_forged_token_and_one_of_another_organisation_prove_nothing() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let id = make(&control, idle(), &lease).await;
    let token = lease.token().expose();
    for forged in ["", "x", &token[1..], &token.to_uppercase(), &"0".repeat(64), lease.id().as_str()] {
        let error = control.resume_lease(&ME, None, forged).await.map(drop).unwrap_err();
        assert_eq!(reason(error), ErrorReason::LeaseInvalid, "{forged}");
        let error = control.create_under(&ME, idle(), "", Some(forged)).await.unwrap_err();
        assert_eq!(reason(error), ErrorReason::LeaseInvalid, "{forged}");
    }
    let theirs = control.resume_lease(&SOMEBODY_ELSE, None, token).await.map(drop).unwrap_err();
    assert_eq!(reason(theirs), ErrorReason::LeaseInvalid);
    let theirs = control.create_under(&SOMEBODY_ELSE, idle(), "", Some(token)).await.unwrap_err();
    assert_eq!(reason(theirs), ErrorReason::LeaseInvalid);
    let theirs = control.open_lease(&SOMEBODY_ELSE, None, "").unwrap();
    let adopter = Adopter::Lease(theirs.token().expose().to_owned());
    let unknown = control.adopt(&SOMEBODY_ELSE, &id, &adopter).await.unwrap_err();
    assert_eq!(reason(unknown), ErrorReason::SandboxNotFound);
    // None of it had an effect.
    assert_eq!(
        control.get(&ME, &id).await.unwrap().ownership.holder().unwrap().lease.as_ref(),
        Some(lease.id())
    );
    assert_eq!(*control.live().borrow(), 1);
    // The ledger holds nothing by which a lease could be used.
    let ledger = std::fs::read(&home.config.ledger).unwrap();
    let wal = std::fs::read(home.config.ledger.with_extension("db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(token.len()).any(|window| window == token.as_bytes());
    assert!(!holds(&ledger) && !holds(&wal));
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_create_whose_lease_was_lost_meanwhile_is_born_an_orphan_and_found_by_its_owner() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let token = lease.token().expose().to_owned();
    drop(lease);
    let record = control.create_under(&ME, patient(60), "", Some(&token)).await.unwrap();
    assert_eq!(orphaned_how(&record.ownership), OrphanReason::ConnectionLost);
    let id = record.id.as_str();
    reach(&control, id, State::Running).await;
    let _lease = control.resume_lease(&ME, None, &token).await.unwrap();
    assert_eq!(control.get(&ME, id).await.unwrap().ownership.kind(), "owned");
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_owner_named_by_a_process_alone_is_seen_to_end_as_one_with_a_lease() {
    let (home, processes) = home();
    let control = home.open().await;
    let mut spec = patient(60);
    me().annotate(&mut spec.annotations);
    *processes.refuse.lock().unwrap() = true;
    let id = running(&control, spec).await;
    processes.end(me());
    let ownership = owned_as(&control, &id, "orphaned").await;
    assert_eq!(ownership.holder(), Some(&Holder::process(me())));
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn leases_are_bounded_and_those_that_are_over_make_room() {
    let (mut home, _) = home();
    home.config.limits.owner_grace = Duration::from_millis(50);
    let control = home.open().await;
    let mut leases: Vec<_> = (0..crate::lease::MAX_LEASES).map(|_| elsewhere(&control)).collect();
    let refused = control.open_lease(&ME, None, "").unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::CapacityExhausted);
    control.open_lease(&SOMEBODY_ELSE, None, "").unwrap();
    let last = leases.pop().unwrap();
    let id = make(&control, patient(60), &last).await;
    drop(last);
    leases.truncate(leases.len() - 1);
    tokio::time::sleep(Duration::from_millis(60)).await;
    // One is over; the other one is still somebody's.
    let lease = control.open_lease(&ME, None, "").unwrap();
    assert!(control.open_lease(&ME, None, "").is_err());
    assert_eq!(owned_as(&control, &id, "orphaned").await.kind(), "orphaned");
    drop(lease);
    for label in ["x".repeat(257), "a\nb".to_owned(), "\0".to_owned()] {
        let refused = control.open_lease(&ME, None, &label).unwrap_err();
        assert_eq!(refused.reason(), ErrorReason::InvalidRequest);
    }
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_for_a_moment_loses_no_orphan() {
    let (home, processes) = home();
    let control = home.open().await;
    let lease = control.open_lease(&ME, Some(me()), "").unwrap();
    let id = make(&control, patient(60), &lease).await;
    let blocker = rusqlite::Connection::open(&home.config.ledger).unwrap();
    blocker.busy_timeout(Duration::ZERO).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    processes.end(me());
    let blocking = tokio::task::spawn_blocking(move || {
        // Longer than the ledger waits for others.
        std::thread::sleep(Duration::from_secs(6));
        blocker.execute_batch("COMMIT").unwrap();
    });
    blocking.await.unwrap();
    owned_as(&control, &id, "orphaned").await;
    control.shutdown().await.unwrap();
}
