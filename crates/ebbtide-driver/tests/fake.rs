//! What the fake driver does beyond the trait: what tests plant in its world, and its shell.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::fake::{Call, FakeDriver};
use ebbtide_driver::{
    AtMainEnd, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndCause, ExecEvent, ExecRequest,
    Leftover, Phase, RootImage, SandboxPlan,
};
use ebbtide_model::{Command, EffectiveResources, ExitStatus, SandboxId};

fn command(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Command::default() }
}

fn idle() -> SandboxPlan {
    SandboxPlan {
        id: SandboxId::generate(),
        image: RootImage::Host,
        main: Command::default(),
        user: None,
        stop_signal: None,
        files: Vec::new(),
        resources: EffectiveResources::default(),
        lifetime: Duration::from_secs(60),
        switch: DeadMansSwitch::Off,
        at_main_end: AtMainEnd::End,
    }
}

async fn output(driver: &FakeDriver, id: &SandboxId, script: &str) -> (String, ExitStatus) {
    let request = ExecRequest { command: command(&["sh", "-c", script]), stdin: false, terminal: None };
    let mut exec = driver.exec(id, request).await.unwrap();
    let mut written = Vec::new();
    loop {
        match exec.events.next().await.unwrap() {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => written.extend(bytes),
            ExecEvent::Exit(status) => return (String::from_utf8(written).unwrap(), status),
        }
    }
}

#[tokio::test]
async fn the_shell_runs_scripts_of_its_small_grammar() {
    let driver = FakeDriver::new();
    let plan = idle();
    driver.create(&plan).await.unwrap();
    for (script, expected, status) in [
        ("echo a  'b  c' \"$HOME-x\"; exit 3", "a b  c -x\n", ExitStatus::Code(3)),
        ("echo one > /tmp/f; echo two >> /tmp/f; cat /tmp/f", "one\ntwo\n", ExitStatus::Code(0)),
        ("until test -e /tmp/f; do sleep 1; done; echo there >&2", "there\n", ExitStatus::Code(0)),
        ("trap 'echo caught; exit 4' TERM; kill -TERM $$; sleep 9", "caught\n", ExitStatus::Code(4)),
        ("trap '' TERM; kill -TERM $$; kill -KILL $$", "", ExitStatus::Signal(9)),
        ("nothing-like-it", "sh: nothing-like-it: not found\n", ExitStatus::Code(127)),
        ("seq 8 10", "8\n9\n10\n", ExitStatus::Code(0)),
        ("a | b", "sh: no | in the fake's shell\n", ExitStatus::Code(2)),
    ] {
        assert_eq!(output(&driver, &plan.id, script).await, (expected.to_owned(), status), "{script}");
    }
}

#[tokio::test]
async fn planted_failures_come_in_order_and_then_calls_succeed() {
    let driver = FakeDriver::new();
    let plan = idle();
    driver.world().fail_next(Call::Create, DriverError::NoRoom { what: "disk".to_owned() });
    assert!(matches!(driver.create(&plan).await, Err(DriverError::NoRoom { .. })));
    assert_eq!(driver.list().await.unwrap(), []);
    driver.create(&plan).await.unwrap();
}

#[tokio::test]
async fn a_planted_leftover_is_found_until_it_is_cleared() {
    let driver = FakeDriver::new();
    let leftover = Leftover { kind: "cgroup".to_owned(), name: "ebbtide/x".to_owned() };
    driver.world().plant_leftover(leftover.clone());
    assert_eq!(driver.leftovers().await.unwrap(), [leftover]);
    driver.world().clear_leftovers();
    assert_eq!(driver.leftovers().await.unwrap(), []);
}

#[tokio::test]
async fn a_killed_init_is_reported_without_an_exit_status() {
    let driver = FakeDriver::new();
    let plan = SandboxPlan { main: command(&["sleep", "60"]), ..idle() };
    driver.create(&plan).await.unwrap();
    driver.world().kill_init(&plan.id);
    let report = driver.ended(&plan.id).await.unwrap();
    assert_eq!((report.cause, report.exit), (EndCause::InitKilled, None));
}

#[tokio::test]
async fn a_half_made_sandbox_is_listed_and_can_be_completed_or_destroyed() {
    let driver = FakeDriver::new();
    let (first, second) = (idle(), idle());
    driver.world().plant_half_made(first.clone());
    driver.world().plant_half_made(second.clone());
    assert!(driver.list().await.unwrap().iter().all(|sandbox| sandbox.phase == Phase::Made));
    let again = FakeDriver::on(Arc::clone(driver.world()));
    again.create(&first).await.unwrap();
    assert!(matches!(again.destroy(&second.id).await, Ok(DestroyOutcome::Destroyed { report: None, .. })));
    let left = driver.list().await.unwrap();
    assert_eq!((left.len(), left[0].phase), (1, Phase::Running));
}

#[tokio::test]
async fn a_delayed_create_that_is_dropped_is_finished_all_the_same() {
    let driver = FakeDriver::new();
    let plan = idle();
    driver.world().delay_creates(Duration::from_millis(50));
    let cut = tokio::time::timeout(Duration::from_millis(5), driver.create(&plan)).await;
    assert!(cut.is_err());
    assert_eq!(driver.list().await.unwrap()[0].phase, Phase::Made);
    driver.create(&plan).await.unwrap();
    assert_eq!(driver.list().await.unwrap()[0].phase, Phase::Running);
}
