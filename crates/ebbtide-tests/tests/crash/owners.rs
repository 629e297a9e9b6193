//! The steps of an adoption and of a letting go.

use std::time::Duration;

use ebbtide::{Adopter, owner};
use ebbtide_tests::{Machine, Started, command::binary_with_fail_points, eventually, home::is_alive};
use serde_json::Value;

use crate::{Doomed, LIMIT, assert_true, call_once, points};

fn is_owned_by(sandbox: &Value, heir: &Started) -> bool {
    sandbox["ownership"]["kind"] == "owned" && sandbox["ownership"]["holder"]["pid"] == heir.pid()
}

#[test]
fn a_daemon_that_dies_in_an_adoption_or_a_letting_go_leaves_one_owner_or_none_and_every_init_knows_which() {
    let machine = Machine::take();
    let home = machine.home().with_binary(binary_with_fail_points());
    home.configure("[limits]\nowner_grace_seconds = 2\n");
    let stranger = Started::idle();
    let (mut adopted, mut detached) = (Vec::new(), Vec::new());
    for point in points("adopt.").chain(points("detach.")) {
        let doomed = Doomed::start(&home, point);
        let heir = Started::idle();
        let pid = heir.pid();
        let adopts = point.starts_with("adopt.");
        let id = if adopts { home.create(&[]) } else { home.create(&["--owner", &pid.to_string()]) };
        let told = if adopts {
            let heir = owner(pid).expect("the process lives");
            call_once(&home, async |client| client.adopt(&id, Adopter::Process(heir)).await)
        } else {
            call_once(&home, async |client| client.detach(&id).await)
        };
        assert!(told.is_err(), "{point} was never reached");
        doomed.assert_died();
        let sandbox = home.get(&id);
        let expected = match (adopts, point.ends_with(".intent.before")) {
            (true, true) => "unowned",
            (true, false) | (false, true) => "owned",
            (false, false) => "detached",
        };
        assert_eq!(sandbox["ownership"]["kind"], expected, "{point}: {sandbox}");
        assert_eq!(expected == "owned", is_owned_by(&sandbox, &heir), "{point}: {sandbox}");
        // Again, with the same answer however far it had come.
        if adopts {
            let _ = home.ebb(["adopt", &id, "--owner", &pid.to_string()]).run().exited(0);
            let refused = home.ebb(["adopt", &id, "--owner", &stranger.pid().to_string()]).run().exited(125);
            assert!(refused.error().contains(&format!("process {pid}")), "{point}: {}", refused.error());
            assert!(is_owned_by(&home.get(&id), &heir), "{point}");
            adopted.push((id.clone(), home.init_of(&id), heir));
        } else {
            let told = call_once(&home, async |client| client.detach(&id).await);
            assert!(told.is_ok(), "{point}: {told:?}");
            detached.push((id.clone(), heir));
        }
        assert_true(&home, &id, "running", point);
        let _ = home.ebb(["doctor"]).run().exited(0);
    }

    drop(stranger);

    // With nobody left who could tell them, the inits go by what they have been told.
    home.kill_daemon();
    home.kill_launcher();
    let inits: Vec<u32> = adopted.iter().map(|(_, init, _)| *init).collect();
    let ids: Vec<String> = adopted.into_iter().map(|(id, _, _)| id).collect();
    let let_go: Vec<String> = detached.into_iter().map(|(id, _)| id).collect();
    eventually("the inits of the adopted ones end", LIMIT, || {
        inits.iter().all(|init| !is_alive(*init)).then_some(())
    });
    // The owners of these died as early.
    std::thread::sleep(Duration::from_secs(1));
    assert!(home.daemon().is_none(), "somebody started a daemon");
    for id in &ids {
        let sandbox = eventually("its end is known", LIMIT, || {
            let sandbox = home.get(id);
            sandbox["ended_at"].is_string().then_some(sandbox)
        });
        assert_eq!(sandbox["end"]["reason"], "owner_gone", "{sandbox}");
    }
    for id in &let_go {
        assert_true(&home, id, "running", "its owner was none any more");
    }
    let _ = home.ebb(["doctor"]).run().exited(0);
    home.shutdown();
    machine.assert_nothing_left();
}
