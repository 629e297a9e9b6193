//! Who lets a sandbox go, and who takes over what nobody stands for.

use super::*;

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
        matches!(&refused, ControlError::Owned { by, since: Some(_), .. } if by.label == "a test elsewhere"),
        "{refused}"
    );
    assert_eq!(refused.reason(), ErrorReason::SandboxOwned);
    // One's own is no error.
    control.adopt(&ME, &id, &Adopter::Lease(token.clone())).await.unwrap();
    drop(first);
    owned_as(&control, &id, "orphaned").await;
    let adopted = control.adopt(&ME, &id, &adopter).await.unwrap();
    assert!(
        matches!(&adopted.ownership, Ownership::Owned { by, adopted: true, since: Some(_) } if by.label == "the second")
    );
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

/// Waits until its init has been told of an owner.
async fn guarded(home: &Home, id: &str) {
    let guarded = async {
        while switch(home, id) == DeadMansSwitch::Off {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), guarded).await.unwrap();
}

/// A sandbox that runs, and got its owner before it did.
async fn adopted_while_it_is_made(home: &Home, control: &Control) -> (String, HeldLease) {
    home.world.delay_creates(Duration::from_millis(200));
    let id = create(control, idle()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let lease = elsewhere(control);
    let adopter = Adopter::Lease(lease.token().expose().to_owned());
    control.adopt(&ME, &id, &adopter).await.unwrap();
    reach(control, &id, State::Running).await;
    (id, lease)
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
    guarded(&home, &id).await;
    control.adopt(&ME, &id, &adopter).await.unwrap();
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_sandbox_that_is_adopted_while_it_is_made_is_guarded_for_its_new_owner() {
    let (home, _) = home();
    let control = home.open().await;
    let (id, _lease) = adopted_while_it_is_made(&home, &control).await;
    guarded(&home, &id).await;
    control.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_new_sandbox_whose_init_cannot_be_told_of_its_owner_is_stopped_at_once_all_the_same() {
    let (mut home, _) = home();
    home.config.timing.retry_first = Duration::from_secs(600);
    home.config.timing.retry_most = Duration::from_secs(600);
    home.world.fail_next(Call::Guard, DriverError::Unavailable("its init does not listen".to_owned()));
    let control = home.open().await;
    let (id, _lease) = adopted_while_it_is_made(&home, &control).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(switch(&home, &id), DeadMansSwitch::Off, "it was told");
    control.stop(&ME, &id, ebbtide_model::StopOptions::NOW).await.unwrap();
    assert_eq!(wait(&control, &id).await.reason, Some(TerminationReason::Stopped));
}
