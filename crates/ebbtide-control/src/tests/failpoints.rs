//! Every fail point is reached and kills, and the ledger that it leaves is gone on from.
//!
//! The daemon that dies is this test binary, started again for one test. The fake's world dies with it, as if the
//! launcher and every init had been killed with the daemon: the hardest case for a record.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use ebbtide_model::{State, StopOptions, TerminationReason};

use super::*;

const LEDGER: &str = "EBBTIDE_TEST_LEDGER";

/// Two lives that together come to every fail point.
#[test]
#[ignore = "the process that dies; started by the other test"]
fn child() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut home = Home::new();
        home.config.ledger = std::env::var_os(LEDGER).unwrap().into();
        let control = home.open().await;
        for (grace, request) in [(10, "graceful"), (0, "at once")] {
            let mut spec = main(&["sleep", "60"]);
            spec.annotations.insert(ebbtide_model::KEEP_ANNOTATION.to_owned(), "always".to_owned());
            let id = control.create(&ME, spec, request).await.unwrap().id.to_string();
            println!("{id}");
            reach(&control, &id, State::Running).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            control.pause(&ME, &id).await.unwrap();
            control.resume(&ME, &id).await.unwrap();
            let lease = control.open_lease(&ME, None, "").unwrap();
            let adopter = crate::Adopter::Lease(lease.token().expose().to_owned());
            control.adopt(&ME, &id, &adopter).await.unwrap();
            control.detach(&ME, &id).await.unwrap();
            let closing = crate::Asked { by: None, occasion: crate::Occasion::Session };
            let kept = control.stop_as(&ME, &id, StopOptions::NOW, closing).await.unwrap();
            assert!(kept.ownership.is_kept());
            control.stop(&ME, &id, StopOptions { grace: Duration::from_secs(grace) }).await.unwrap();
            wait(&control, &id).await;
        }
        let id = running(&control, main(&["sleep", "60"])).await;
        println!("{id}");
        let (mine, all) = (crate::Whose::Own(ME), crate::PurgeFilter { tags: vec![], all: true });
        let plan = control.plan_purge(&mine, &all).unwrap();
        control.confirm_purge(&mine, &all, &plan.hash, &crate::Asked::default()).await.unwrap();
    });
}

#[tokio::test]
async fn a_daemon_killed_at_any_fail_point_leaves_a_ledger_to_go_on_from() {
    for name in crate::FAIL_POINTS {
        let home = Home::new();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::failpoints::child", "--ignored", "--nocapture"])
            .env("EBBTIDE_FAIL_POINT", name)
            .env(LEDGER, &home.config.ledger)
            .env("TMPDIR", home.dir.path())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(9), "{name} was not reached");
        let control = home.open().await;
        let output = String::from_utf8(child.stdout).unwrap();
        let answered: Vec<&str> = output
            .split_whitespace()
            .filter(|word| word.parse::<ebbtide_model::SandboxId>().is_ok())
            .collect();
        assert!(!answered.is_empty() || name.starts_with("create."), "{name}");
        for id in answered {
            let settled = async {
                loop {
                    let record = control.get(&ME, id).await.unwrap();
                    if record.state == State::Running || record.state.is_terminal() {
                        return record;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let record = tokio::time::timeout(Duration::from_secs(10), settled).await.expect(name);
            // With its world it lost what would say how it ended, so FAILED has a cause that is no fault of ours.
            if record.state == State::Failed {
                let reason = record.reason.unwrap();
                assert!(
                    matches!(reason, TerminationReason::Reconciled | TerminationReason::Stopped),
                    "{name}: {record:?}"
                );
            }
        }
        control.shutdown().await.unwrap();
        assert_eq!(home.exists().await, 0, "{name}");
    }
}
