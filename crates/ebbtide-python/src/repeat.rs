//! A signal that came while what its handler raises would be lost, sent once more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ebbtide::{Error, ProcessLocal};
use rustix::process::{Signal, getpid, kill_process};
use tokio::time::sleep;

/// How long the interpreter has to go on from where it was.
const PAUSE: Duration = Duration::from_millis(5);

/// Those that are sent and not handled yet: bit n for signal n.
static SENT: ProcessLocal<AtomicU64> = ProcessLocal::new();

/// Sends this process one of the named signals, shortly.
pub(crate) fn repeat(number: i32) -> Result<(), Error> {
    let Some(signal) = Signal::from_named_raw(number) else { return Ok(()) };
    ebbtide::spawn(async move {
        sleep(PAUSE).await;
        SENT.get().fetch_or(bit(number), Ordering::SeqCst);
        // No process is refused a signal to itself.
        let _ = kill_process(getpid(), signal);
    })?;
    Ok(())
}

/// Whether the one that is handled now was sent here, and is not somebody's second.
pub(crate) fn is_repeated(number: i32) -> bool {
    SENT.get().fetch_and(!bit(number), Ordering::SeqCst) & bit(number) != 0
}

fn bit(number: i32) -> u64 {
    1u64.checked_shl(number.unsigned_abs()).unwrap_or_default()
}
