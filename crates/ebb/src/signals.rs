//! The signals that end a verb: Ctrl-C, a request to terminate, the end of the terminal.
//!
//! One that was ignored when the program was started (`nohup`, a background job of a script) stays ignored.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that end a verb.
#[derive(Debug)]
pub(crate) struct Signals {
    streams: Vec<(i32, Signal)>,
    seen: usize,
}

impl Signals {
    /// Takes them over from now on.
    pub(crate) fn install() -> Result<Self, Failure> {
        Self::of(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    /// With them every other that ends a program and is sent by people and programs: for one that has something
    /// to put back in order first.
    pub(crate) fn install_all() -> Result<Self, Failure> {
        Self::of(&[
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::alarm(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ])
    }

    fn of(kinds: &[SignalKind]) -> Result<Self, Failure> {
        let ignored = ignored();
        let mut streams = Vec::new();
        for &kind in kinds {
            let number = kind.as_raw_value();
            if ignored & (1 << (number - 1)) == 0 {
                let stream = signal(kind).map_err(|error| Failure::io("listen for signals", error))?;
                streams.push((number, stream));
            }
        }
        Ok(Self { streams, seen: 0 })
    }

    /// The next one. Safe to drop at any await.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    self.seen += 1;
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// How many have come.
    pub(crate) fn seen(&self) -> usize {
        self.seen
    }
}

/// The set of ignored signals, bit n - 1 for signal n.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
