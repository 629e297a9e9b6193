//! Places where a test kills the daemon, one before and one after each side effect of create, pause, keep and stop.
//!
//! Compiled only under the feature `fail-points`, which no release enables. The process whose environment holds
//! `EBBTIDE_FAIL_POINT=NAME` kills itself with SIGKILL when it comes to the place NAME: no destructor runs, nothing
//! is flushed, as with `kill -9` from outside at the worst moment. With `EBBTIDE_FAIL_POINT_SIGNAL=STOP` it stands still there
//! instead, so that a test can end the whole machine at that moment.

/// Every fail point, in the order of a create, a pause, a keep and a stop.
pub const FAIL_POINTS: &[&str] = &[
    "create.intent.before",
    "create.intent.after",
    "create.prepare.after",
    "create.admit.after",
    "create.resolve.after",
    "create.driver.before",
    "create.driver.after",
    "create.running.after",
    "create.mark.before",
    "create.mark.after",
    "pause.driver.before",
    "pause.driver.after",
    "pause.record.after",
    "resume.driver.before",
    "resume.driver.after",
    "adopt.intent.before",
    "adopt.intent.after",
    "adopt.guard.before",
    "adopt.guard.after",
    "detach.intent.before",
    "detach.intent.after",
    "detach.guard.before",
    "detach.guard.after",
    "keep.driver.before",
    "keep.driver.after",
    "keep.record.after",
    "purge.look.after",
    "purge.told.after",
    "stop.ending.before",
    "stop.ending.after",
    "stop.driver.before",
    "stop.driver.after",
    "stop.ended.after",
    "stop.exit.after",
    "stop.destroy.before",
    "stop.destroy.after",
    "stop.tombstone.before",
    "stop.tombstone.after",
];

/// Names a place where a test can kill the process.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(feature = "fail-points")]
        $crate::failpoint::reached($name);
    };
}
pub(crate) use fail_point;

/// Kills this process if it is to die at `name`.
#[cfg(feature = "fail-points")]
pub(crate) fn reached(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    if std::env::var_os("EBBTIDE_FAIL_POINT").is_some_and(|wanted| wanted == name) {
        let still = std::env::var_os("EBBTIDE_FAIL_POINT_SIGNAL").is_some_and(|signal| signal == "STOP");
        let _ = kill_process(getpid(), if still { Signal::STOP } else { Signal::KILL });
        // The signal may be delivered to another thread first; this one goes no further.
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FAIL_POINTS;

    const SOURCES: &[&str] = &[
        include_str!("control.rs"),
        include_str!("sandbox.rs"),
        include_str!("engine.rs"),
        include_str!("pause.rs"),
        include_str!("lease/adopt.rs"),
        include_str!("keep.rs"),
        include_str!("plan.rs"),
        include_str!("purge.rs"),
        include_str!("lifecycle/create.rs"),
        include_str!("lifecycle/watch.rs"),
        include_str!("lifecycle/ending.rs"),
        include_str!("lifecycle/mod.rs"),
    ];

    #[test]
    fn every_fail_point_is_placed_exactly_once() {
        for name in FAIL_POINTS {
            let call = format!("fail_point!(\"{name}\")");
            let places: usize = SOURCES.iter().map(|source| source.matches(&call).count()).sum();
            assert_eq!(places, 1, "{name}");
        }
        let placed: usize = SOURCES.iter().map(|source| source.matches("fail_point!(\"").count()).sum();
        assert_eq!(placed, FAIL_POINTS.len(), "a fail point is missing from the list");
    }
}
