//! What belongs to one process, and is of no use in one that was forked from it.

use ebbtide::Error;

/// Something of the process that made it.
///
/// In a forked child it is neither used nor dropped: dropping it would wake threads that are not there, by locks that
/// may be held for ever.
pub(crate) struct Ours<T> {
    pid: u32,
    /// Only gone while it is being dropped.
    value: Option<T>,
}

impl<T> Ours<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { pid: std::process::id(), value: Some(value) }
    }

    pub(crate) fn get(&self) -> Result<&T, Error> {
        let forked = Error::Forked { owner: self.pid };
        if self.pid == std::process::id() { self.value.as_ref().ok_or(forked) } else { Err(forked) }
    }
}

impl<T> Drop for Ours<T> {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}
