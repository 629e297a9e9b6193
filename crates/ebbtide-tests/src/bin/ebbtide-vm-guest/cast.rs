//! One sandbox of each kind of ownership and state, and whether all of them are as they were.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::home::{Home, text};
use crate::program::Owner;

/// The kinds, by name; and the owners, who live as long as this does.
pub(crate) struct Cast {
    /// The id of each kind.
    pub(crate) ids: BTreeMap<&'static str, String>,
    /// State and ownership of each kind when all had been made.
    as_made: BTreeMap<&'static str, (String, String)>,
    _owners: Vec<Owner>,
}

impl Cast {
    /// Makes all of them. None would end by itself before an hour is over.
    pub(crate) fn new(home: &Home) -> Self {
        home.wake();
        let mut owners = Vec::new();
        let mut ids = BTreeMap::new();
        let mut owned = |name, options: &[&str]| {
            let owner = Owner::idle();
            ids.insert(name, home.create(&[&["--owner", &owner.pid()], options].concat()));
            owner
        };
        owners.push(owned("owned", &["--lifetime", "3600"]));
        owners.push(owned("owned, idle times", &["--idle-timeout", "3600", "--on-idle", "pause"]));
        let orphan = owned("orphan", &["--orphan-grace", "3600"]);
        let kept = owned("kept, paused", &["--orphan-grace", "0", "--keep", "always"]);
        let running =
            owned("kept, running", &["--orphan-grace", "0", "--keep", "always", "--keep-as", "running"]);
        drop((orphan, kept, running));
        let (program, id) = Owner::of_a_lease(home);
        owners.push(program);
        ids.insert("leased", id);
        ids.insert("detached", home.create(&["--detach", "--lifetime", "3600"]));
        let job = ["--detach", "--", "sh", "-c", "while :; do echo tick; sleep 1; done"];
        ids.insert("main command", home.create(&job));
        ids.insert("paused", home.create(&["--detach"]));
        let _ = home.ebb(["pause", &ids["paused"]]).run().exited(0);
        home.until("it is an orphan", &ids["orphan"], |seen| kind(seen) == "orphaned");
        for name in ["kept, paused", "kept, running"] {
            home.until("it is kept", &ids[name], |seen| kind(seen) == "kept");
        }
        home.until("it is paused", &ids["kept, paused"], |seen| text(seen, "state") == "paused");
        let mut cast = Self { ids, as_made: BTreeMap::new(), _owners: owners };
        cast.as_made = cast.seen(home);
        cast
    }

    /// Every one of them is in the state and has the owner that it had, and what runs can be used.
    pub(crate) fn is_unharmed(&self, home: &Home) {
        let seen = self.seen(home);
        assert_eq!(seen, self.as_made, "not as they were made (right)");
        for (name, (state, _)) in &seen {
            if state == "running" {
                let alive = home.ebb(["exec", &self.ids[name], "--", "echo", "alive"]).run().ok();
                assert_eq!(alive, "alive", "{name}");
            }
        }
        home.doctor();
    }

    fn seen(&self, home: &Home) -> BTreeMap<&'static str, (String, String)> {
        let list = home.list();
        let find = |id: &String| list.iter().find(|sandbox| sandbox["id"] == id.as_str());
        let ids = self.ids.iter();
        ids.map(|(name, id)| {
            let sandbox = find(id).unwrap_or_else(|| panic!("{name}: {id} is not known"));
            (*name, (state(sandbox), kind(sandbox).to_owned()))
        })
        .collect()
    }
}

/// The state, with the reason of what has ended.
fn state(sandbox: &Value) -> String {
    match text(sandbox, "reason") {
        "" => text(sandbox, "state").to_owned(),
        reason if sandbox["ended_at"].is_string() => format!("{}: {reason}", text(sandbox, "state")),
        _ => text(sandbox, "state").to_owned(),
    }
}

fn kind(sandbox: &Value) -> &str {
    text(&sandbox["ownership"], "kind")
}
