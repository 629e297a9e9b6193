//! A home has one daemon, by whatever path it is called.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use ebbtide_tests::command::{Ebb, kill};
use ebbtide_tests::{Machine, TestHome};
use rustix::process::Signal;

use super::{says, settled, works};

/// `ebb serve` of the home at `path`.
fn serve(home: &TestHome, path: &str) -> Ebb {
    Ebb::new(home.binary(), ["serve"]).env("EBBTIDE_HOME", path).limit(Duration::from_secs(20))
}

/// A mount that goes with the test.
struct Bind(String);

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_second_daemon_of_a_home_is_refused_and_told_who_the_first_is() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let daemon = home.daemon().unwrap();
    let path = |name: &str| home.directory().join(name).to_str().unwrap().to_owned();
    let (plain, link, bound) = (home.state_dir().to_str().unwrap().to_owned(), path("link"), path("bound"));
    symlink(&plain, &link).unwrap();
    std::fs::create_dir(&bound).unwrap();
    assert!(Command::new("mount").args(["--bind", &plain, &bound]).status().unwrap().success());
    let _bind = Bind(bound.clone());
    let refused = |path: &str| {
        says(serve(&home, path).run(), &["another daemon", &format!("process {daemon}")]);
    };
    for path in [&plain, &link, &bound] {
        refused(path);
        // Whoever only calls it finds the first.
        let listed = Ebb::new(home.binary(), ["list", "--json"]).env("EBBTIDE_HOME", path).run().json();
        assert_eq!(listed["sandboxes"][0]["id"], id.as_str());
    }
    kill(daemon, Signal::STOP);
    for path in [&plain, &link, &bound] {
        refused(path);
    }
    kill(daemon, Signal::CONT);
    assert_eq!(home.daemon(), Some(daemon));
    works(&home, &id);
    settled(&home, [&id]);
}
