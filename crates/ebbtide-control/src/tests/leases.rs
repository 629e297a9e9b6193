//! Who stands for a sandbox: leases held, lost, resumed and let go; orphans, and who takes them over.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ebbtide_driver::fake::Call;
use ebbtide_driver::{DeadMansSwitch, DriverError};
use ebbtide_model::{
    DETACH_ANNOTATION, ErrorReason, Holder, ORPHAN_GRACE_ANNOTATION, OrphanReason, OwnerProcess, Ownership,
    SandboxId, TerminationReason,
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
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let start_time = fields.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
    OwnerProcess { pid: std::process::id(), start_time }
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
async fn a_detached_sandbox_has_no_owner_and_nobodys_end_matters_to_it() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let mut spec = idle();
    spec.annotations.insert(DETACH_ANNOTATION.to_owned(), "true".to_owned());
    let born = make(&control, spec, &lease).await;
    let let_go = make(&control, idle(), &lease).await;
    let before = control.get(&ME, &let_go).await.unwrap();
    let after = control.detach(&ME, &let_go).await.unwrap();
    assert_eq!((after.ownership, switch(&home, &let_go)), (Ownership::Detached, DeadMansSwitch::Off));
    // Of an owner it had a day; now it has the hour of one that never had any.
    let hour = home.config.limits.unowned_lifetime;
    assert!(before.deadline > after.deadline);
    assert!(after.deadline <= std::time::SystemTime::now() + hour);
    drop(lease);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for id in [&born, &let_go] {
        let record = control.get(&ME, id).await.unwrap();
        assert_eq!((record.ownership, record.state), (Ownership::Detached, State::Running));
    }
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_shorter_lifetime_of_one_that_was_let_go_is_held_also_by_the_next_daemon() {
    let (mut home, _) = home();
    home.config.limits.unowned_lifetime = Duration::from_millis(400);
    let control = home.open().await;
    let lease = elsewhere(&control);
    let [first, second] = [make(&control, idle(), &lease).await, make(&control, idle(), &lease).await];
    control.detach(&ME, &first).await.unwrap();
    assert_eq!(wait(&control, &first).await.reason, Some(TerminationReason::LifetimeExpired));
    let own = SandboxSpec { max_lifetime: Some(Duration::from_secs(60)), ..idle() };
    let own = make(&control, own, &lease).await;
    let before = control.get(&ME, &own).await.unwrap().deadline;
    assert_eq!(control.detach(&ME, &own).await.unwrap().deadline, before);
    control.detach(&ME, &second).await.unwrap();
    crash(control).await;
    let control = home.open().await;
    assert_eq!(wait(&control, &second).await.reason, Some(TerminationReason::LifetimeExpired));
    assert_eq!(control.get(&ME, &own).await.unwrap().state, State::Running);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_orphan_that_is_adopted_lives_on_and_its_first_owner_has_lost_it() {
    let (home, processes) = home();
    let control = home.open().await;
    let first = elsewhere(&control);
    let (token, id) = (first.token().expose().to_owned(), make(&control, idle(), &first).await);
    let second = control.open_lease(&ME, Some(me()), "the second").unwrap();
    let adopter = Adopter::Lease(second.token().expose().to_owned());
    // Not while its owner is there, and the answer says who that is.
    let refused = control.adopt(&ME, &id, &adopter).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Owned { by, .. } if by.label == "a test elsewhere"),
        "{refused}"
    );
    assert_eq!(refused.reason(), ErrorReason::SandboxOwned);
    // One's own is no error.
    control.adopt(&ME, &id, &Adopter::Lease(token.clone())).await.unwrap();
    drop(first);
    owned_as(&control, &id, "orphaned").await;
    let adopted = control.adopt(&ME, &id, &adopter).await.unwrap();
    assert!(matches!(&adopted.ownership, Ownership::Owned { by, adopted: true } if by.label == "the second"));
    assert!(matches!(switch(&home, &id), DeadMansSwitch::Process { process, .. } if process == me()));
    let _first = control.resume_lease(&ME, None, &token).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let record = control.get(&ME, &id).await.unwrap();
    assert_eq!((record.state, record.ownership), (State::Running, adopted.ownership));
    processes.end(me());
    assert_eq!(wait(&control, &id).await.reason, Some(TerminationReason::OwnerGone));
}

#[tokio::test]
async fn what_nobody_stands_for_can_be_adopted_by_a_lease_a_process_or_nobody() {
    let (home, _) = home();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let lease = elsewhere(&control);
    let by_process = control.adopt(&ME, &id, &Adopter::Process(me())).await.unwrap();
    assert_eq!(by_process.ownership.holder(), Some(&Holder::process(me())));
    let nobody = control.adopt(&ME, &id, &Adopter::Nobody).await.unwrap_err();
    assert_eq!(nobody.reason(), ErrorReason::SandboxOwned);
    control.detach(&ME, &id).await.unwrap();
    control.detach(&ME, &id).await.unwrap();
    assert_eq!(control.adopt(&ME, &id, &Adopter::Nobody).await.unwrap().ownership, Ownership::Detached);
    let adopter = Adopter::Lease(lease.token().expose().to_owned());
    assert_eq!(control.adopt(&ME, &id, &adopter).await.unwrap().ownership.kind(), "owned");
    control.stop(&ME, &id, ebbtide_model::StopOptions::NOW).await.unwrap();
    wait(&control, &id).await;
    for ended in [control.adopt(&ME, &id, &adopter).await, control.detach(&ME, &id).await] {
        assert_eq!(ended.unwrap_err().reason(), ErrorReason::SandboxNotRunning);
    }
    let never = SandboxId::generate();
    let unknown = control.adopt(&ME, never.as_str(), &adopter).await.unwrap_err();
    assert_eq!(unknown.reason(), ErrorReason::SandboxNotFound);
}

#[tokio::test]
async fn of_two_who_adopt_at_once_exactly_one_wins_and_the_other_learns_who() {
    let (home, _) = home();
    let control = home.open().await;
    let leases = [elsewhere(&control), control.open_lease(&ME, None, "the other").unwrap()];
    let id = running(&control, idle()).await;
    for round in 0..1000 {
        let attempts = leases.each_ref().map(|lease| {
            let (control, id) = (control.clone(), id.clone());
            let adopter = Adopter::Lease(lease.token().expose().to_owned());
            tokio::spawn(async move { control.adopt(&ME, &id, &adopter).await })
        });
        let [first, second] = attempts;
        let outcomes = [first.await.unwrap(), second.await.unwrap()];
        let owner = control.get(&ME, &id).await.unwrap().ownership.holder().unwrap().clone();
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "round {round}");
        for outcome in outcomes {
            match outcome {
                Ok(record) => assert_eq!(record.ownership.holder(), Some(&owner)),
                Err(ControlError::Owned { by, .. }) => assert_eq!(by, owner),
                Err(error) => panic!("{error}"),
            }
        }
        control.detach(&ME, &id).await.unwrap();
    }
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_adopter_that_the_driver_cannot_hear_is_told_so_and_its_adoption_holds() {
    let (home, _) = home();
    let control = home.open().await;
    let id = running(&control, idle()).await;
    let lease = elsewhere(&control);
    let adopter = Adopter::Lease(lease.token().expose().to_owned());
    home.world.fail_next(Call::Guard, DriverError::Unavailable("away".to_owned()));
    assert!(control.adopt(&ME, &id, &adopter).await.is_err());
    assert_eq!(control.get(&ME, &id).await.unwrap().ownership.kind(), "owned");
    let guarded = async {
        while switch(&home, &id) == DeadMansSwitch::Off {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), guarded).await.unwrap();
    control.adopt(&ME, &id, &adopter).await.unwrap();
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_sandbox_that_is_adopted_while_it_is_made_is_guarded_for_its_new_owner() {
    let (home, _) = home();
    home.world.delay_creates(Duration::from_millis(200));
    let control = home.open().await;
    let id = create(&control, idle()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let lease = elsewhere(&control);
    let adopter = Adopter::Lease(lease.token().expose().to_owned());
    control.adopt(&ME, &id, &adopter).await.unwrap();
    reach(&control, &id, State::Running).await;
    let guarded = async {
        while switch(&home, &id) == DeadMansSwitch::Off {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), guarded).await.unwrap();
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_was_away_does_not_shorten_the_grace_of_an_owner_elsewhere() {
    let (home, _) = home();
    let control = home.open().await;
    let lease = elsewhere(&control);
    let token = lease.token().expose().to_owned();
    let [owned, lost] = [make(&control, idle(), &lease).await, make(&control, idle(), &lease).await];
    let other = elsewhere(&control);
    drop(other);
    // The daemon ends, not the owner, who is told by the end of its stream all the same.
    lease.leave();
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let control = home.open().await;
    assert_eq!(orphaned_how(&owned_as(&control, &owned, "orphaned").await), OrphanReason::ConnectionLost);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lease = control.resume_lease(&ME, None, &token).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    for id in [&owned, &lost] {
        let record = control.get(&ME, id).await.unwrap();
        assert_eq!((record.state, record.ownership.kind()), (State::Running, "owned"));
    }
    drop(lease);
    owned_as(&control, &lost, "orphaned").await;
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let control = home.open().await;
    let lease = control.resume_lease(&ME, None, &token).await.unwrap();
    assert_eq!(owned_as(&control, &lost, "owned").await.kind(), "owned");
    drop(lease);
    assert_eq!(wait(&control, &lost).await.reason, Some(TerminationReason::OwnerGone));
}

#[tokio::test]
async fn the_orphan_of_a_process_goes_on_with_the_rest_of_its_grace_after_a_restart() {
    let (home, processes) = home();
    let control = home.open().await;
    let lease = control.open_lease(&ME, Some(me()), "").unwrap();
    let [short, long] = [make(&control, patient(1), &lease).await, make(&control, patient(60), &lease).await];
    processes.end(me());
    let begun = Instant::now();
    owned_as(&control, &short, "orphaned").await;
    let before = owned_as(&control, &long, "orphaned").await;
    crash(control).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let control = home.open().await;
    assert_eq!(control.get(&ME, &long).await.unwrap().ownership, before);
    assert_eq!(wait(&control, &short).await.reason, Some(TerminationReason::OwnerGone));
    assert!((950..1800).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(control.get(&ME, &long).await.unwrap().state, State::Running);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_owner_that_ended_while_no_daemon_ran_is_found_out_by_the_next_one() {
    let (home, processes) = home();
    let control = home.open().await;
    let lease = control.open_lease(&ME, Some(me()), "").unwrap();
    let id = make(&control, patient(60), &lease).await;
    crash(control).await;
    processes.end(me());
    let control = home.open().await;
    assert_eq!(orphaned_how(&owned_as(&control, &id, "orphaned").await), OrphanReason::ProcessEnded);
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn leases_of_an_earlier_boot_are_over() {
    let (mut home, _) = home();
    let control = home.open().await;
    let [local, remote] = [control.open_lease(&ME, Some(me()), "").unwrap(), elsewhere(&control)];
    control.close().await;
    home.config.boot_id = "boot-2".to_owned();
    let control = home.open().await;
    for lease in [local, remote] {
        let error = control.create_under(&ME, idle(), "", Some(lease.token().expose())).await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::LeaseInvalid);
        assert!(!control.engine().store.has_lease(lease.id()));
    }
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
