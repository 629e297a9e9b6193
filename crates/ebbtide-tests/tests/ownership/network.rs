//! Owners elsewhere: known by their connection alone.

use std::time::Duration;

use ebbtide_tests::proxy::Break;
use ebbtide_tests::{Machine, Proxy, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::LIMIT;
use crate::program;

#[test]
fn an_owner_elsewhere_is_missed_when_its_connection_is_cut_and_comes_back_when_it_heals() {
    let machine = Machine::take();
    let home = machine.home();
    let key = home.ebb(["key", "create", "--json", "--organization", "acme"]).run().json();
    let key = key["key"].as_str().unwrap();
    let serve = home.ebb(["serve", "--json", "--listen", "127.0.0.1:0"]).limit(LIMIT * 4).spawn();
    let ready: Value = serde_json::from_str(&serve.first_line(Duration::from_secs(30))).unwrap();
    let listen = ready["listen"][0].as_str().unwrap();
    let proxy = Proxy::to(listen.split("://").nth(1).unwrap());
    let url = format!("http://{}", proxy.address);
    let environment = [("EBBTIDE_URL", url.as_str()), ("EBBTIDE_API_KEY", key), ("TEST_ORPHAN_GRACE", "8")];
    let program = program::start(&environment);
    // Seen past the cut, by another program of the same organisation.
    let seen = |what: &str, is: fn(&Value) -> &Value| {
        eventually(what, LIMIT, || {
            let get = home.ebb(["get", &program.id, "--json"]);
            let got = get.env("EBBTIDE_URL", listen).env("EBBTIDE_API_KEY", key).run().json();
            (is(&got) == what).then_some(got)
        })
    };
    let kind: fn(&Value) -> &Value = |got| &got["ownership"]["kind"];
    seen("owned", kind);
    proxy.cut(Break::Close);
    let orphan = seen("orphaned", kind);
    assert_eq!(orphan["ownership"]["reason"], "connection_lost", "{orphan}");
    proxy.heal();
    seen("owned", kind);
    program.signal(Signal::KILL);
    seen("orphaned", kind);
    seen("owner_gone", |got| &got["end"]["reason"]);
    serve.signal(Signal::TERM);
    let _ = serve.wait().exited(0);
}
