//! The machine sleeps while sandboxes of every kind live.

use std::fs;
use std::time::Duration;

use ebbtide_tests::kernel::Snapshot;
use rustix::time::{ClockId, clock_gettime};

use crate::cast::Cast;
use crate::holds;
use crate::home::{Home, text};
use crate::program::Owner;

/// How long it sleeps.
const NAP: i64 = 60;
/// A lifetime that ends while it sleeps.
const SHORT: &str = "40";

/// Sleeps in one of the ways that the kernel knows: `freeze` or `mem`.
pub(crate) fn run(state: &str) {
    let snapshot = Snapshot::take();
    let home = Home::at("sleep");
    let states = fs::read_to_string("/sys/power/state").expect("what the machine can do");
    assert!(states.contains(state), "this kernel cannot {state}: {states}");
    let cast = Cast::new(&home);
    let owner = Owner::idle();
    let short = home.create(&["--owner", &owner.pid(), "--lifetime", SHORT]);
    let slept = sleep(state);
    assert!(slept > Duration::from_secs(NAP as u64 / 2), "{state}: it slept for {slept:?} only");
    cast.is_unharmed(&home);
    let ended = home.until("its lifetime ends it", &short, |seen| seen["ended_at"].is_string());
    assert_eq!(text(&ended, "reason"), "lifetime_expired", "{ended}");
    holds(&format!(
        "{state}: {} seconds asleep; nobody is harmed, and a lifetime that ended meanwhile is over",
        slept.as_secs()
    ));
    home.kill_daemon();
    cast.is_unharmed(&home);
    holds(&format!("{state}: the daemon killed and started again after that: the same"));
    drop((cast, owner));
    home.shut_down(&snapshot);
}

/// Sleeps until the clock of the machine wakes it; returns for how long it really did.
fn sleep(state: &str) -> Duration {
    const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
    let before = asleep();
    fs::write(ALARM, "0").and_then(|()| fs::write(ALARM, format!("+{NAP}"))).expect("set the alarm");
    println!("asleep {state}");
    fs::write("/sys/power/state", state).expect("sleep");
    println!("awake");
    asleep().saturating_sub(before)
}

/// How long the machine has slept since it was started.
fn asleep() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).expect("a time since the start");
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}
