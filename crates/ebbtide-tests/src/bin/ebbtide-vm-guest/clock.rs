//! The machine's clock is set a day forward and a day back while sandboxes of every kind live.

use std::time::{Duration, Instant};

use ebbtide_tests::kernel::Snapshot;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::cast::Cast;
use crate::holds;
use crate::home::{Home, text};
use crate::program::Owner;

const DAY: i64 = 24 * 3600;
/// Longer than the daemon takes from one reconciliation to the next.
const SWEEP: Duration = Duration::from_secs(64);
/// How long a sandbox lives that is made right before the clock is set.
const SHORT: Duration = Duration::from_secs(45);

pub(crate) fn run() {
    let snapshot = Snapshot::take();
    let home = Home::at("clock");
    let cast = Cast::new(&home);
    cast.is_unharmed(&home);
    for (days, words) in [(1, "a day forward"), (-2, "to a day back"), (1, "right again")] {
        let owner = Owner::idle();
        let short = home.create(&["--owner", &owner.pid(), "--lifetime", &SHORT.as_secs().to_string()]);
        let made = Instant::now();
        set_clock(days * DAY);
        cast.is_unharmed(&home);
        let ended = home.until("its lifetime ends it", &short, |seen| seen["ended_at"].is_string());
        let lived = made.elapsed();
        assert_eq!(text(&ended, "reason"), "lifetime_expired", "{ended}");
        // From before the answer to its create; and the looks at the others take their time.
        assert!(lived + Duration::from_secs(15) > SHORT, "{words}: it ended after {lived:?}");
        std::thread::sleep(SWEEP.saturating_sub(made.elapsed()));
        cast.is_unharmed(&home);
        holds(&format!("the clock set {words}: nobody is harmed, and a lifetime of {SHORT:?} is one"));
        home.kill_daemon();
        cast.is_unharmed(&home);
        let _ = home.ebb(["run", "--", "true"]).run().exited(0);
        holds("the daemon killed and started again under that clock: the same");
    }
    drop(cast);
    home.shut_down(&snapshot);
}

fn set_clock(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec { tv_sec: now.tv_sec + seconds, tv_nsec: now.tv_nsec };
    clock_settime(ClockId::Realtime, then).expect("set the clock");
}
