//! Owners and their leases over the death of a daemon.

use super::*;

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
