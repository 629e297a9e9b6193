//! What a key opens, and what does not open.

use ebbtide_tests::Machine;

use crate::site::{Site, ids, key};

#[test]
fn nobody_can_be_let_in_without_a_key_so_it_does_not_listen() {
    let machine = Machine::take();
    let home = machine.home();
    let refused = home.ebb(["serve", "--listen", "127.0.0.1:0"]).run().exited(125);
    assert!(refused.error().contains("ebb key create"), "{}", refused.error());
    let refused = home.ebb(["serve", "--listen", "127.0.0.1:0"]).env("EBBTIDE_API_KEY", "guess").run();
    assert!(refused.exited(125).error().contains("EBBTIDE_API_KEY"));
    let _ = key(&home, "one");
    let refused = home.ebb(["serve", "--listen", "0.0.0.0:0"]).run().exited(125);
    assert!(refused.error().contains("TLS"), "{}", refused.error());
}

#[test]
fn every_verb_of_a_caller_works_from_elsewhere() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = key(&home, "one").secret;
    let site = Site::start(&home, &[]);
    let call = |arguments: &[&str]| site.call(Some(&secret), arguments.iter().copied());
    let script = "cat; echo error >&2; exit 3";
    let ran = call(&["run", "--", "sh", "-c", script]).stdin("input").run().exited(3);
    assert_eq!((ran.text().as_str(), ran.error().as_str()), ("input", "error\n"));
    let id = call(&["create", "--tag", "t"]).run().ok();
    assert_eq!(call(&["exec", &id, "--", "echo", "hi"]).run().ok(), "hi");
    assert!(call(&["get", &id]).run().ok().contains("running"));
    assert_eq!(site.list(&secret), [id.as_str()]);
    assert!(call(&["events"]).run().ok().contains(&id));
    assert_eq!(call(&["purge", "--tag", "t", "--yes"]).run().ok(), "1 ended");
    let owned = call(&["create", "--owner", &std::process::id().to_string()]).run().exited(125);
    assert!(owned.error().contains("--lifetime"), "{}", owned.error());
    for verb in [&["shutdown"][..], &["key", "list"], &["doctor"]] {
        let refused = call(verb).run().exited(125);
        assert!(refused.error().contains("EBBTIDE_URL"), "{verb:?}: {}", refused.error());
    }
    site.end();
}

#[test]
fn a_key_that_is_missing_wrong_or_revoked_opens_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    let [kept, revoked] = ["one", "one"].map(|name| key(&home, name));
    let site = Site::start(&home, &[]);
    let refused = |key: Option<&str>| {
        let answer = site.call(key, ["list", "--json"]).run().exited(125);
        assert!(answer.error().contains("CWSANDBOX_UNAUTHENTICATED"), "{}", answer.error());
    };
    refused(None);
    refused(Some("ebb_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    refused(Some(&kept.secret.replace(&kept.id, &revoked.id)));
    assert!(site.list(&revoked.secret).is_empty());
    home.ebb(["key", "revoke", &revoked.id]).run().ok();
    refused(Some(&revoked.secret));
    assert!(site.list(&kept.secret).is_empty());
    let listed = home.ebb(["key", "list", "--json"]).run().ok();
    assert!(listed.contains(&kept.id) && !listed.contains(&revoked.id) && !listed.contains(&kept.secret));
    site.end();
}

#[test]
fn organisations_see_only_what_is_theirs_also_after_a_restart() {
    let machine = Machine::take();
    let home = machine.home();
    let [one, other] = ["one", "other"].map(|name| key(&home, name).secret);
    let mut site = Site::start(&home, &[]);
    let id = site.call(Some(&one), ["create"]).run().ok();
    for _ in 0..2 {
        assert_eq!(site.list(&one), [id.as_str()]);
        assert!(site.list(&other).is_empty());
        let _ = site.call(Some(&other), ["stop", &id]).run().exited(125);
        assert!(ids(&home.ebb(["list", "--json"]).run().json()).is_empty(), "root has it in its own list");
        site.end();
        site = Site::start(&home, &[]);
    }
    site.call(Some(&one), ["stop", &id]).run().ok();
    site.end();
}

#[test]
fn a_key_of_the_environment_holds_for_the_run() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = "only-for-this-run-of-the-daemon";
    let command =
        home.ebb(Site::arguments(&[])).env("EBBTIDE_API_KEY", secret).env("EBBTIDE_ORGANIZATION", "mine");
    let site = Site::start_as(&home, command);
    let id = site.call(Some(secret), ["create"]).run().ok();
    let mine = key(&home, "mine").secret;
    assert_eq!(site.list(&mine), [id.as_str()], "the key is of another organisation");
    site.call(Some(secret), ["stop", &id]).run().ok();
    site.end();
    let site = Site::start(&home, &[]);
    let _ = site.call(Some(secret), ["list"]).run().exited(125);
    site.end();
}
