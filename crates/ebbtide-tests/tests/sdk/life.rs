//! From a description to a sandbox and to its end.

use std::time::Duration;

use ebbtide::{ErrorKind, ListOptions, Resources, Sandbox, SandboxState, StopOptions};
use ebbtide_tests::Machine;

use crate::{builder, connection, ids};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_asked_for_is_what_is_made() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home)
        .command("sh")
        .args(["-c", "echo $GREETING; exec sleep 60"])
        .env("GREETING", "hi")
        .tags(["a", "b"])
        .annotation("team", "storage")
        .working_dir("/usr")
        .resources(Resources::of("500m", "128Mi"))
        .max_lifetime(Duration::from_secs(100))
        .run()
        .await
        .unwrap();
    let info = sandbox.wait().await.unwrap();
    assert_eq!(info.state, SandboxState::Running);
    assert_eq!((info.image.as_str(), info.tags.as_slice()), ("host", &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(info.command, ["sh", "-c", "echo $GREETING; exec sleep 60"]);
    assert_eq!(info.annotations["team"], "storage");
    assert_eq!(info.limits.memory.as_deref(), Some("128Mi"));
    assert_eq!(info.max_lifetime, Duration::from_secs(100));
    assert!(info.started_at >= info.created_at && info.ended_at.is_none());
    let said = sandbox.exec(["pwd"]).check().output().await.unwrap();
    assert_eq!(said.stdout_text(), "/usr\n");
    sandbox.stop().await.unwrap();
    assert!(sandbox.info().unwrap().ended_at.is_some());
    assert_eq!(sandbox.exit_code(), Some(143));
    home.shutdown();
    machine.assert_nothing_left();
}

#[tokio::test]
async fn the_first_use_starts_it_and_any_number_of_first_uses_make_one() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).build().unwrap();
    assert_eq!((sandbox.id(), sandbox.state()), (None, None));
    let once = async || sandbox.exec(["true"]).output().await.unwrap().exit_code;
    let codes = futures::future::join_all((0..4).map(|_| once())).await;
    assert_eq!(codes, [0; 4]);
    assert_eq!(home.live(), 1);
    sandbox.start().await.unwrap();
    assert_eq!(home.live(), 1);
    sandbox.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_is_waited_for_and_its_exit_code_is_known() {
    let machine = Machine::take();
    let home = machine.home();
    let job = builder(&home).command("sh").args(["-c", "exit 7"]).build().unwrap();
    let info = job.wait_until_complete(LIMIT).await.unwrap();
    assert_eq!((info.state, info.exit_code), (SandboxState::Completed, Some(7)));
    // Over is over: nothing is asked for any more, also with no daemon.
    home.shutdown();
    assert_eq!(job.status().await.unwrap().exit_code, Some(7));
    job.stop().await.unwrap();
    let refused = job.exec(["true"]).start().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotRunning);
}

#[tokio::test]
async fn each_way_not_to_run_has_its_own_error() {
    let machine = Machine::take();
    let home = machine.home();
    let broken = builder(&home).image("no-such-image").run().await;
    let error = match broken {
        Err(refused) => refused,
        Ok(sandbox) => sandbox.wait().await.unwrap_err(),
    };
    assert!(error.to_string().contains("no-such-image"), "{error}");

    let stopped = builder(&home).run().await.unwrap();
    stopped.wait().await.unwrap();
    let wait = stopped.wait_until_complete(LIMIT);
    let (waited, ended) = tokio::join!(wait, stopped.stop_with(StopOptions::now()));
    ended.unwrap();
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Terminated);

    let endless = builder(&home).run().await.unwrap();
    endless.wait().await.unwrap();
    let late = endless.ended(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let running = endless.status().await.unwrap();
    assert_eq!(running.state, SandboxState::Running, "a wait that is over ends nothing");
    endless.stop_with(StopOptions::now()).await.unwrap();

    let bad = builder(&home).working_dir("relative").run().await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Validation);
    assert!(bad.fields()[0].field.ends_with("working_dir"), "{:?}", bad.fields());
    let unsupported = builder(&home).edit_spec(|spec| spec.runtime_class = "gvisor".into());
    assert_eq!(unsupported.run().await.unwrap_err().kind(), ErrorKind::Unsupported);
    let huge = builder(&home).resources(Resources::of("1", "4000Ti")).run().await.unwrap_err();
    assert_eq!((huge.kind(), huge.reason()), (ErrorKind::Validation, Some("CWSANDBOX_INVALID_REQUEST")));
}

#[tokio::test]
async fn many_stops_are_one_and_all_see_its_end() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).run().await.unwrap();
    sandbox.wait().await.unwrap();
    let stops = futures::future::join_all((0..8).map(|_| sandbox.stop())).await;
    assert!(stops.iter().all(Result::is_ok), "{stops:?}");
    assert_eq!(sandbox.state(), Some(SandboxState::Completed));
    sandbox.stop().await.unwrap();
    assert_eq!(home.live(), 0);
}

#[tokio::test]
async fn the_grace_period_lets_a_command_say_goodbye() {
    let machine = Machine::take();
    let home = machine.home();
    let polite = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
    let sandbox = builder(&home).command("sh").args(["-c", polite]).run().await.unwrap();
    sandbox.wait().await.unwrap();
    // The trap is set once the loop runs.
    sandbox.exec(["sh", "-c", "until pgrep -x sleep; do :; done"]).check().output().await.unwrap();
    sandbox.stop_with(StopOptions::default().grace(Duration::from_secs(30))).await.unwrap();
    assert_eq!(sandbox.exit_code(), Some(9));
    let deaf = builder(&home).command("sh").args(["-c", "trap '' TERM; sleep 60 & wait; sleep 60"]);
    let deaf = deaf.run().await.unwrap();
    deaf.wait().await.unwrap();
    deaf.stop_with(StopOptions::now()).await.unwrap();
    assert_eq!(deaf.exit_code(), Some(137));
}

#[tokio::test]
async fn listings_find_by_tag_and_state_and_show_the_ended_on_request() {
    let machine = Machine::take();
    let home = machine.home();
    let connection = connection(&home);
    let one = builder(&home).tags(["all", "one"]).run().await.unwrap();
    let two = builder(&home).tags(["all", "two"]).run().await.unwrap();
    one.wait().await.unwrap();
    two.wait().await.unwrap();
    let list = async |options| ids(&Sandbox::list_on(&connection, options).await.unwrap());
    let both = ids(&[one.clone(), two.clone()]);
    assert_eq!(list(ListOptions::tagged(["all"])).await, both);
    assert_eq!(list(ListOptions::tagged(["all", "two"])).await, ids(std::slice::from_ref(&two)));
    assert!(list(ListOptions::tagged(["one", "two"])).await.is_empty());
    one.stop_with(StopOptions::now()).await.unwrap();
    assert_eq!(list(ListOptions::default()).await, ids(std::slice::from_ref(&two)));
    assert_eq!(list(ListOptions { show_terminated: true, ..ListOptions::default() }).await, both);
    let ended = ListOptions { state: Some(SandboxState::Completed), ..ListOptions::default() };
    assert_eq!(list(ended).await, ids(&[one]));
    two.stop_with(StopOptions::now()).await.unwrap();
}

#[tokio::test]
async fn a_sandbox_is_found_and_deleted_by_its_id() {
    let machine = Machine::take();
    let home = machine.home();
    let connection = connection(&home);
    let id = home.create(&["--tag", "found"]);
    let found = Sandbox::from_id_on(&connection, &id).await.unwrap();
    assert_eq!(found.info().unwrap().tags, ["found"]);
    assert_eq!(found.exec(["echo", "hi"]).output().await.unwrap().stdout, b"hi\n");
    drop(found);
    Sandbox::delete_on(&connection, &id, false).await.unwrap();
    let over = Sandbox::from_id_on(&connection, &id).await.unwrap().ended(LIMIT).await.unwrap();
    assert_eq!(over.reason.as_deref(), Some("stopped"));
    let nobody = "01aaaaaaaaaaaaaaaaaaaaaaaa";
    let missing = Sandbox::from_id_on(&connection, nobody).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let missing = Sandbox::delete_on(&connection, nobody, false).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    Sandbox::delete_on(&connection, nobody, true).await.unwrap();
}

#[tokio::test]
async fn a_handle_outlives_the_daemon_that_answered_it() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).run().await.unwrap();
    sandbox.wait().await.unwrap();
    home.kill_daemon();
    assert_eq!(sandbox.status().await.unwrap().state, SandboxState::Running);
    home.kill_daemon();
    sandbox.stop().await.unwrap();
    assert_eq!(home.live(), 0);
}

#[tokio::test]
async fn a_scope_ends_the_sandbox_whatever_comes_of_it() {
    let machine = Machine::take();
    let home = machine.home();
    let said = async |sandbox: &Sandbox| sandbox.exec(["echo", "hi"]).check().output().await;
    let sandbox = builder(&home).build().unwrap();
    assert_eq!(sandbox.scope(said).await.unwrap().stdout, b"hi\n");
    assert_eq!(sandbox.state(), Some(SandboxState::Completed));
    let failing = async |sandbox: &Sandbox| sandbox.exec(["false"]).check().output().await;
    let error = builder(&home).build().unwrap().scope(failing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    let stopping = async |sandbox: &Sandbox| sandbox.stop().await;
    builder(&home).build().unwrap().scope(stopping).await.unwrap();
    assert_eq!(home.live(), 0);
}
