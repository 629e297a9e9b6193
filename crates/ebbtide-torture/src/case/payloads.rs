//! What sandboxes do that do not mean to go. Each does it without end but never with more than a few dozen processes
//! and megabytes, so that it harms no machine on which it is not bounded.

use super::{Case, Scene};

fn stop(scene: &mut Scene<'_>) {
    scene.stop_all();
}

const fn case(name: &'static str, about: &'static str, payload: &'static str) -> Case {
    Case { payload, ..Case::plain(name, about, stop) }
}

pub(super) const CASES: &[Case] = &[
    case(
        "payload-ignores-sigterm",
        "a stopped payload ignores SIGTERM",
        "trap '' TERM HUP INT; while :; do sleep 1000; done",
    ),
    case(
        "payload-double-forks",
        "a stopped payload has children in sessions of their own, whose parents are gone",
        "for i in 1 2 3; do (setsid sh -c '(setsid sleep 1000 &) ; sleep 1000' &); done; sleep 1000",
    ),
    case(
        "payload-forks",
        "a stopped payload forks without end",
        // Forty at a time.
        "trap '' TERM; i=0; while [ $i -lt 40 ]; do (while :; do (sleep 0.05); done) & i=$((i + 1)); done; wait; sleep 1000",
    ),
    case(
        "payload-holds",
        "a stopped payload holds removed files, directories and mounts of its own open",
        "mkdir -p /tmp/held && cd /tmp/held && exec 7>/tmp/file && echo data >&7 && rm -rf /tmp/file /tmp/held; unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /tmp; cd /tmp; sleep 1000' 2>/dev/null & mkdir -p /tmp/mount; mount -t tmpfs none /tmp/mount 2>/dev/null; sleep 1000",
    ),
    case(
        "payload-fills-disk",
        "a stopped payload has written to its disk, up to 64 MiB",
        "head -c 67108864 /dev/zero >/tmp/full; sleep 1000",
    ),
    case(
        "payload-floods-log",
        "a stopped payload writes to its output, up to 64 MiB",
        "yes 'a line of a log that is written without end' | head -c 67108864; sleep 1000",
    ),
    case(
        "payload-stops-itself",
        "a stopped payload has stopped itself (SIGSTOP), all of its processes",
        "sh -c 'kill -STOP $$' & sh -c 'sleep 0.1; kill -STOP $PPID; kill -STOP $$' & wait; sleep 1000",
    ),
];
