//! Many, one after the other.

use super::{Case, IDLE, Scene};

pub(super) const CASES: &[Case] = &[Case::plain(
    "churn",
    "many sandboxes are made and stopped, one after the other",
    |scene: &mut Scene<'_>| {
        scene.stop_all();
        scene.await_release();
        for _ in 0..scene.churn {
            if scene.is_interrupted() {
                return;
            }
            let Some(index) = scene.start_owner(IDLE, false) else { return };
            scene.stop(index..index + 1, 1);
            scene.await_release();
            scene.owners[index].abandon();
        }
    },
)];
