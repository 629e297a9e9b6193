//! Stopping.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::plain("stop-gone", "a sandbox is stopped that is gone already: no error", |scene| {
        scene.stop_all();
        scene.await_release();
        scene.stop_all();
    }),
    Case::plain("stop-twice", "a sandbox is stopped by two callers at once: no error for either", |scene| {
        scene.stop(0..scene.owners.len(), 2);
    }),
];
