//! What happens to owners.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::plain("owner-exits", "the owner comes to its end", |scene| {
        scene.owners.iter_mut().for_each(|owner| owner.leave());
    }),
    Case::plain("owner-killed", "the owner is killed (-9)", |scene| {
        for owner in &mut scene.owners {
            owner.event();
            owner.signal(Signal::KILL);
        }
    }),
    Case {
        forks: true,
        ..Case::plain(
            "owner-killed-child-lives",
            "the owner is killed (-9), a child that it forked lives",
            |scene| {
                for owner in &mut scene.owners {
                    owner.event();
                    owner.signal(Signal::KILL);
                }
            },
        )
    },
    Case::plain("owner-group-killed", "the whole process group of the owner is killed (-9)", |scene| {
        for owner in &mut scene.owners {
            owner.event();
            owner.signal_group(Signal::KILL);
        }
    }),
    Case::plain(
        "owner-stopped",
        "the owner is stopped (SIGSTOP) for a while: it lives, and so must its sandbox",
        |scene| {
            scene.owners.iter().for_each(|owner| owner.signal(Signal::STOP));
            scene.must_live_on("its owner was stopped");
            scene.owners.iter().for_each(|owner| owner.signal(Signal::CONT));
            scene.owners.iter_mut().for_each(|owner| owner.leave());
        },
    ),
    Case::plain("owner-killed-early", "the owner is killed (-9) while its sandbox is being made", |scene| {
        let first = scene.owners.len();
        // From before the first call to after the last of most systems.
        for delay in [0, 2, 5, 10, 15, 20, 30, 40, 60, 80, 110, 150, 200, 300, 400] {
            scene.start_early_owner();
            thread::sleep(Duration::from_millis(delay));
            if let Some(owner) = scene.owners.last_mut() {
                owner.event();
                owner.signal(Signal::KILL);
            }
        }
        scene.await_grace();
        scene.owners.drain(..first).for_each(|mut owner| owner.abandon());
    }),
];
