//! Every command that the checks run in a sandbox: plain POSIX and `seq`, and within the grammar of the fake's
//! shell. A file under `/tmp` is how a main command says that it has come so far.

use std::sync::LazyLock;

/// Ends with 7.
pub const EXIT_7: &str = "exit 7";
/// Ends with 9, but not at once.
pub const EXIT_9_LATER: &str = "sleep 0.3; exit 9";
/// Ends by SIGKILL.
pub const KILL_ITSELF: &str = "kill -KILL $$";
/// Ends by SIGTERM.
pub const TERMINATE_ITSELF: &str = "kill -TERM $$";

/// Ends with 7 when it is told to by [`MARK`].
pub const FAIL_WHEN_MARKED: &str = "until test -e /tmp/mark; do sleep 0.05; done; exit 7";

/// Counts how often it was started, and stays.
pub const COUNT_STARTS: &str = "echo started >> /tmp/starts; : > /tmp/ready; exec sleep 300";
/// Waits until [`COUNT_STARTS`] has counted, and shows the count.
pub const SHOW_STARTS: &str = "until test -e /tmp/ready; do sleep 0.05; done; cat /tmp/starts";
/// What [`SHOW_STARTS`] shows after one start.
pub const ONE_START: &[u8] = b"started\n";

/// Leaves a mark.
pub const MARK: &str = ": > /tmp/mark";
/// Ends with 0 if there is a mark.
pub const IS_MARKED: &str = "test -e /tmp/mark";

/// Ends with 5, after 0.2 s of tidying up, when it is asked to end.
pub const HANDLES_TERM: &str = "trap 'sleep 0.2; exit 5' TERM; : > /tmp/ready; while :; do sleep 0.05; done";
/// Does not end when it is asked to.
pub const IGNORES_TERM: &str = "trap '' TERM; : > /tmp/ready; while :; do sleep 0.05; done";
/// Ends with 6, after 0.5 s of tidying up, by SIGUSR1.
pub const HANDLES_USR1: &str = "trap 'sleep 0.5; exit 6' USR1; : > /tmp/ready; while :; do sleep 0.05; done";
/// Waits until one of these is ready.
pub const AWAIT_READY: &str = "until test -e /tmp/ready; do sleep 0.05; done";

/// Says that it is ready; ends with 6 on SIGUSR1 and with 8 on SIGTERM.
pub const HANDLES_SIGNALS: &str =
    "trap 'exit 6' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done";

/// Says at every moment that it goes on.
pub const TICK: &str = "while :; do echo tick; sleep 0.05; done";
/// Asks for memory until it is killed for it.
pub const USE_UP_MEMORY: &[&str] = &["tail", "/dev/zero"];

/// Tells its process id, and stays.
pub const TELL_PID: &str = "echo $$; exec sleep 300";
/// Ends with 0 while the process in its first argument is there.
pub const IS_ALIVE: &str = "kill -0 $1";

/// Writes a line when it is told to by [`MARK`], and stays.
pub const WRITE_WHEN_MARKED: &str =
    "echo first; until test -e /tmp/mark; do sleep 0.05; done; echo second; exec sleep 300";
/// Writes a line at once and one after a moment, and ends.
pub const WRITE_AND_WRITE_LATER: &str = "echo first; sleep 0.3; echo second >&2";

/// Writes to both streams.
pub const BOTH_STREAMS: &str = "echo out; echo err >&2";
/// Ends at once and leaves a child that holds its output.
pub const LEAVE_A_CHILD: &str = "sleep 300 & echo done";
/// Shows three variables.
pub const SHOW_VARIABLES: &str = "echo $EBBTIDE_MAIN $EBBTIDE_EXEC $EBBTIDE_BOTH";

/// Ends with 0 on a terminal.
pub const IS_ON_A_TERMINAL: &str = "test -t 0";
/// Tells the kind of its terminal and, on standard error, its size; ends with 0 if that is a terminal too.
pub const SHOW_TERMINAL: &str = "echo $TERM; stty size >&2; test -t 2";
/// Says that it is ready, and shows the size once that changes.
pub const SHOW_NEW_SIZE: &str = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
/// Says that it is ready; ends with 6 on SIGINT.
pub const HANDLES_INTERRUPT: &str = "trap 'exit 6' INT; echo ready; while :; do sleep 0.05; done";
/// Says that it is ready; leaves a mark on SIGHUP.
pub const HANDLES_HANG_UP: &str =
    "trap ': > /tmp/mark; exit 0' HUP; echo ready; while :; do sleep 0.05; done";
/// A path for a mounted file that holds its own path.
pub const MOUNTED: &str = "/opt/some/mounted/file";
/// Copies it, and stays.
pub const KEEP_MOUNTED: &str = "cat /opt/some/mounted/file > /tmp/kept; : > /tmp/ready; exec sleep 300";
/// Waits until it is copied, and shows the copy.
pub const SHOW_KEPT: &str = "until test -e /tmp/ready; do sleep 0.05; done; cat /tmp/kept";

/// Tells the numbers of its user and its group.
pub const SHOW_USER: &str = "id -u; id -g";
/// Keeps them for [`SHOW_KEPT`], and stays.
pub const KEEP_USER: &str =
    "id -u >> /tmp/kept; id -g >> /tmp/kept; : > /tmp/ready; while :; do sleep 0.05; done";
/// Tells what the image of [`super::Harness::image`] holds.
pub const SHOW_IMAGE: &str = "cat /ebbtide-image";

/// The last of the numbers that [`COUNT`] writes: 4 MB.
pub const COUNT_TO: u64 = 600_000;
/// Writes the numbers from 1.
pub const COUNT: &str = "seq 1 600000";
/// Writes as many, and leaves a child that holds its output even if the terminal is hung up.
pub const COUNT_AND_LEAVE_A_CHILD: &str = "seq 1 600000; trap '' HUP; sleep 300 & exit 0";
/// Writes as many, more than any pipe holds, and leaves a mark when the last is written.
pub const COUNT_AND_MARK: &str = "seq 1 600000; : > /tmp/mark";

/// What [`COUNT`] writes.
pub fn counted() -> &'static [u8] {
    static COUNTED: LazyLock<Vec<u8>> =
        LazyLock::new(|| (1..=COUNT_TO).flat_map(|number| format!("{number}\n").into_bytes()).collect());
    &COUNTED
}
