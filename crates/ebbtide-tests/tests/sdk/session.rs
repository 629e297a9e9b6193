//! Sandboxes that belong together.

use ebbtide::{
    ConnectOptions, Connection, ErrorKind, HomeLocation, ListOptions, Sandbox, SandboxDefaults, SandboxState,
    Session, StopOptions, Target,
};
use ebbtide_tests::{Machine, TestHome};

use crate::{connection, ids};

fn session(home: &TestHome) -> Session {
    let defaults = SandboxDefaults {
        tags: vec!["of-the-session".into()],
        env: [("A".to_owned(), "1".to_owned())].into(),
        ..SandboxDefaults::default()
    };
    Session::on(connection(home), defaults)
}

#[tokio::test]
async fn a_session_makes_sandboxes_alike_and_ends_them_together() {
    let machine = Machine::take();
    let home = machine.home();
    let session = session(&home);
    let lazy = session.sandbox().unwrap();
    let first = session.builder().tag("mine").env("B", "2").build().unwrap();
    let second = session.sandbox().unwrap();
    assert_eq!((session.sandbox_count(), first.id()), (3, None));
    let said = first.exec(["sh", "-c", "echo $A$B"]).output().await.unwrap();
    assert_eq!(said.stdout_text(), "12\n");
    second.start().await.unwrap();
    assert_eq!(first.info().unwrap().tags, ["of-the-session", "mine"]);
    session.close().await.unwrap();
    assert_eq!((session.sandbox_count(), home.live()), (0, 0));
    assert_eq!(second.state(), Some(SandboxState::Completed));
    assert_eq!(lazy.start().await.unwrap_err().kind(), ErrorKind::NotRunning);
    assert_eq!(session.sandbox().unwrap_err().kind(), ErrorKind::Session);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_session_is_closed_at_the_end_of_its_scope() {
    let machine = Machine::take();
    let home = machine.home();
    let session = session(&home);
    let error = session
        .scope(async |session| {
            let sandbox = session.sandbox()?;
            sandbox.start().await?;
            sandbox.exec(["false"]).check().output().await
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(session.is_closed() && home.live() == 0);
}

#[tokio::test]
async fn a_sandbox_that_was_stopped_has_left_its_session() {
    let machine = Machine::take();
    let home = machine.home();
    let session = session(&home);
    let sandbox = session.sandbox().unwrap();
    sandbox.start().await.unwrap();
    sandbox.stop_with(StopOptions::now()).await.unwrap();
    assert_eq!(session.sandbox_count(), 0);
    session.close().await.unwrap();
}

#[tokio::test]
async fn what_was_left_by_others_is_adopted_and_ends_with_the_session() {
    let machine = Machine::take();
    let home = machine.home();
    let orphan = home.create(&["--tag", "of-the-session", "--tag", "orphan"]);
    let other = home.create(&["--tag", "orphan"]);
    let third = home.create(&[]);
    let session = session(&home);
    let found = session.list(ListOptions::tagged(["orphan"])).await.unwrap();
    assert_eq!(ids(&found), [orphan], "a session lists what has its own tags");
    assert_eq!(session.sandbox_count(), 0);
    session.adopt(&found[0]).await.unwrap();
    session.from_id(&third).await.unwrap();
    assert_eq!(session.sandbox_count(), 2);
    session.close().await.unwrap();
    let left = Sandbox::list_on(&connection(&home), ListOptions::default()).await.unwrap();
    assert_eq!(ids(&left), [other]);
}

#[tokio::test]
async fn a_sandbox_that_is_gone_already_does_not_keep_a_session_from_closing() {
    let machine = Machine::take();
    let home = machine.home();
    let session = session(&home);
    let sandbox = session.sandbox().unwrap();
    sandbox.wait().await.unwrap();
    // Ended with all the others, and forgotten.
    home.shutdown();
    for entry in std::fs::read_dir(home.state_dir()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("ledger") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(sandbox.status().await.unwrap_err().is_not_found());
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_session_closes_although_one_of_its_sandboxes_cannot_be_stopped() {
    let machine = Machine::take();
    let (home, gone) = (machine.home(), machine.home());
    let session = session(&home);
    let fine = session.sandbox().unwrap();
    fine.start().await.unwrap();
    // The daemon of another home, which is not there when it is asked.
    let id = gone.create(&[]);
    let options = ConnectOptions { autostart: false, ..ConnectOptions::default() };
    let target = Target::Home(HomeLocation::new(gone.state_dir(), "/run/ebbtide"));
    let stranger = Sandbox::from_id_on(&Connection::to(target, options), &id).await.unwrap();
    session.adopt(&stranger).await.unwrap();
    gone.kill_daemon();
    let error = session.close().await.unwrap_err();
    let ebbtide::Error::CloseFailed { failures } = &error else { panic!("{error}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, id);
    assert!(session.is_closed() && home.live() == 0, "the others are stopped all the same");
    stranger.forget();
}
