//! What ended longer ago than records are kept.

use std::time::Duration;

use ebbtide::{ErrorKind, Sandbox};
use ebbtide_tests::{Machine, eventually};

use crate::LIMIT;
use crate::adoption::connection;

/// What every client of the protocol is told of an id that nobody knows.
const UNKNOWN: &str = "CWSANDBOX_SANDBOX_NOT_FOUND";

#[tokio::test]
async fn a_receipt_that_has_expired_is_refused_as_unknown_and_so_is_everything_else_about_it() {
    let machine = Machine::take();
    let home = machine.home();
    home.configure("[limits]\nretention_seconds = 1\n");
    // With something to attend to the daemon stays.
    let lives = home.create(&[]);
    let id = home.create(&[]);
    let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    let _ = home.ebb(["receipt", &id]).run().exited(0);
    // Old records are looked for once a minute.
    tokio::time::sleep(Duration::from_secs(55)).await;
    eventually("its record goes", LIMIT, || {
        std::thread::sleep(Duration::from_millis(500));
        (home.ebb(["receipt", &id]).run().code() != 0).then_some(())
    });
    for verb in ["receipt", "why", "get", "logs"] {
        let refused = home.ebb([verb, &id]).run().exited(125);
        assert!(
            refused.error().contains(&id) && refused.error().contains("ebb list --all"),
            "{verb}: {}",
            refused.error()
        );
        let refused = home.ebb([verb, &id, "--json"]).run().exited(125);
        let error: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
        assert_eq!(error["error"]["reason"], UNKNOWN, "{verb}: {error}");
    }
    let error = Sandbox::from_id_on(&connection(&home), &id).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some(UNKNOWN)), "{error}");
    assert_eq!(home.exec(&lives, "echo alive").run().ok(), "alive");
    let _ = home.ebb(["doctor"]).run().exited(0);
}
