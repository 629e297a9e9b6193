//! How far a pull has come.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How often those who watch are told at most.
const PACE: Duration = Duration::from_millis(100);

/// How far a pull has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The image, as people write it.
    pub image: String,
    /// How many layers it has; 0 until that is known.
    pub layers: u32,
    /// How many of them are here and unpacked.
    pub layers_done: u32,
    /// How many bytes all layers have, as they are in the registry.
    pub bytes: u64,
    /// How many of them are here.
    pub bytes_done: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, layers, layers_done, bytes, bytes_done } = self;
        if *layers == 0 {
            return write!(f, "pulling {image}");
        }
        let s = if *layers == 1 { "" } else { "s" };
        write!(f, "pulling {image}: {layers_done} of {layers} layer{s}, ")?;
        match bytes >> 20 {
            0 => write!(f, "{} of {} KiB", bytes_done.div_ceil(1024), bytes.div_ceil(1024)),
            mebibytes => write!(f, "{} of {mebibytes} MiB", bytes_done >> 20),
        }
    }
}

/// The side that tells.
pub(super) struct Meter {
    sender: watch::Sender<Progress>,
    told: Mutex<Instant>,
}

impl Meter {
    pub(super) fn new(image: String) -> (Self, watch::Receiver<Progress>) {
        let begun = Progress { image, layers: 0, layers_done: 0, bytes: 0, bytes_done: 0 };
        let (sender, receiver) = watch::channel(begun);
        (Self { sender, told: Mutex::new(Instant::now()) }, receiver)
    }

    /// So much there is.
    pub(super) fn expect(&self, layers: usize, bytes: u64) {
        self.sender.send_modify(|progress| {
            progress.layers = u32::try_from(layers).unwrap_or(u32::MAX);
            progress.bytes = bytes;
        });
    }

    /// So many bytes more are here.
    pub(super) fn add(&self, bytes: u64) {
        self.sender.send_if_modified(|progress| {
            progress.bytes_done = (progress.bytes_done + bytes).min(progress.bytes);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let due = told.elapsed() >= PACE;
            if due {
                *told = Instant::now();
            }
            due
        });
    }

    /// So many bytes were no use and come again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.sender.send_if_modified(|progress| {
            progress.bytes_done = progress.bytes_done.saturating_sub(bytes);
            false
        });
    }

    /// A layer more is unpacked.
    pub(super) fn layer_done(&self) {
        self.sender.send_modify(|progress| progress.layers_done += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_as_a_sentence() {
        let mut progress =
            Progress { image: "python:3.11".to_owned(), layers: 0, layers_done: 0, bytes: 0, bytes_done: 0 };
        assert_eq!(progress.to_string(), "pulling python:3.11");
        progress = Progress { layers: 7, layers_done: 3, bytes: 210 << 20, bytes_done: 45 << 20, ..progress };
        assert_eq!(progress.to_string(), "pulling python:3.11: 3 of 7 layers, 45 of 210 MiB");
        progress = Progress { layers: 1, layers_done: 0, bytes: 3000, bytes_done: 10, ..progress };
        assert_eq!(progress.to_string(), "pulling python:3.11: 0 of 1 layer, 1 of 3 KiB");
    }
}
