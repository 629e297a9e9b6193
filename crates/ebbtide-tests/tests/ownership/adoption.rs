//! Taking over what nobody stands for.

use std::time::Duration;

use ebbtide::{ConnectOptions, Connection, Error, HomeLocation, ListOptions, Sandbox, Session, Target};
use ebbtide_tests::{Machine, Started, TestHome};

use crate::{ended, orphaned, program};

/// The way to the daemon of a test's home.
pub(crate) fn connection(home: &TestHome) -> Connection {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { executable: Some(home.binary().to_owned()), ..ConnectOptions::default() };
    Connection::to(Target::Home(location), options)
}

#[test]
fn an_orphan_that_was_adopted_lives_on_and_ends_with_its_new_owner() {
    let machine = Machine::take();
    let home = machine.home();
    let mut program = program::at_home(&home, &[("TEST_ORPHAN_GRACE", "3")]);
    program.kill();
    orphaned(&home, &program.id);
    let heir = Started::idle();
    let pid = heir.pid().to_string();
    let said = home.ebb(["adopt", &program.id, "--owner", &pid]).run().ok();
    assert!(said.contains(&format!("owned by process {pid}")), "{said}");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(home.exec(&program.id, "echo alive").run().ok(), "alive");
    drop(heir);
    assert_eq!(ended(&home, &program.id)["end"]["reason"], "owner_gone");
}

#[test]
fn of_two_who_adopt_one_wins_and_the_other_is_told_who_has_it() {
    let machine = Machine::take();
    let home = machine.home();
    let heirs = [Started::idle(), Started::idle()];
    for _ in 0..5 {
        let id = home.create(&[]);
        let attempts: Vec<_> = heirs
            .iter()
            .map(|heir| home.ebb(["adopt", &id, "--owner", &heir.pid().to_string()]).spawn())
            .collect();
        let answers: Vec<_> = attempts.into_iter().map(ebbtide_tests::Running::wait).collect();
        let codes: Vec<_> = answers.iter().map(ebbtide_tests::Output::code).collect();
        let winner = codes.iter().position(|code| *code == 0).unwrap();
        assert_eq!(codes[1 - winner], 125, "{codes:?}");
        let (said, pid) = (answers[1 - winner].error(), heirs[winner].pid());
        assert!(said.contains(&format!("process {pid}")) && said.contains("ebb why"), "{said}");
        assert_eq!(home.get(&id)["ownership"]["holder"]["pid"], pid);
        let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    }
}

#[tokio::test]
async fn a_session_adopts_orphans_and_is_told_of_living_owners() {
    let machine = Machine::take();
    let home = machine.home();
    let mut dead = program::at_home(&home, &[]);
    let alive = program::at_home(&home, &[]);
    dead.kill();
    orphaned(&home, &dead.id);
    let session = Session::on(connection(&home), Default::default());
    let orphans = session.list(ListOptions::orphaned()).await.unwrap();
    assert_eq!(orphans.iter().filter_map(Sandbox::id).collect::<Vec<_>>(), [dead.id.clone()]);
    session.adopt(&orphans[0]).await.unwrap();
    session.adopt(&orphans[0]).await.unwrap();
    let described = orphans[0].describe().await.unwrap();
    assert!(described.ownership.holder.as_ref().is_some_and(|holder| holder.mine), "{described:?}");
    assert_eq!(home.get(&dead.id)["ownership"]["holder"]["pid"], std::process::id());
    let refused = session.from_id(&alive.id).await.unwrap_err();
    let Error::Owned(owned) = refused else { unreachable!("{refused}") };
    assert!(owned.by.contains(&alive.pid().to_string()), "{owned:?}");
    session.close().await.unwrap();
    assert_eq!(home.get(&dead.id)["end"]["reason"], "session_closed");
    assert_eq!(home.get(&alive.id)["state"], "running");
}

#[tokio::test]
async fn a_detached_sandbox_outlives_its_maker_and_an_adopted_one_can_be_let_go() {
    let machine = Machine::take();
    let home = machine.home();
    let made = Sandbox::builder().connection(connection(&home)).detach().run().await.unwrap();
    let id = made.id().unwrap();
    assert_eq!(home.get(&id)["ownership"]["kind"], "detached");
    made.adopt().await.unwrap();
    assert_eq!(home.get(&id)["ownership"]["kind"], "owned");
    made.detach().await.unwrap();
    drop(made);
    let left = home.get(&id);
    assert_eq!(
        (&left["ownership"]["kind"], &left["state"]),
        (&"detached".into(), &"running".into()),
        "{left}"
    );
    let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
}
