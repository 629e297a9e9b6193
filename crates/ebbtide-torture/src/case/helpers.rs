//! What happens to the processes by which a target keeps its sandboxes.

use rustix::process::Signal;

use super::Case;
use crate::process::kill;

pub(super) const CASES: &[Case] = &[
    Case::plain(
        "helpers-killed",
        "the target's helpers are killed (-9): the sandboxes of living owners go on",
        |scene| {
            let Some(helpers) = scene.helpers() else { return };
            helpers.into_iter().for_each(|pid| kill(pid, Signal::KILL));
            scene.must_live_on("the helpers were killed");
            scene.owners.iter_mut().for_each(|owner| owner.leave());
        },
    ),
    Case {
        bystander: false,
        ..Case::plain(
            "owner-and-helpers-killed",
            "owner and helpers are killed (-9) at once, and no command is run afterwards",
            |scene| {
                let Some(helpers) = scene.helpers() else { return };
                for owner in &mut scene.owners {
                    owner.event();
                    owner.signal(Signal::KILL);
                }
                helpers.into_iter().for_each(|pid| kill(pid, Signal::KILL));
            },
        )
    },
];
