//! What each process has of its own, also one that was forked.
//!
//! A fork copies memory, and of the threads only the one that called it. Whatever another thread held locked at that
//! moment stays locked in the child, and what threads drive stands still there. So a child gets everything anew on
//! first use, and neither looks at nor drops what was its parent's.

use std::sync::OnceLock;

/// A value that is made on first use, in each process once.
///
/// Nothing in here is ever locked for longer than it takes to make a value, so a fork finds nothing locked.
///
/// ```
/// use std::sync::Mutex;
///
/// use ebbtide::ProcessLocal;
///
/// static CALLS: ProcessLocal<Mutex<Vec<String>>> = ProcessLocal::new();
///
/// CALLS.get().lock()?.push("create".to_owned());
/// assert_eq!(CALLS.get().lock()?.len(), 1);
/// # Ok::<(), std::sync::PoisonError<std::sync::MutexGuard<'static, Vec<String>>>>(())
/// ```
#[derive(Debug)]
pub struct ProcessLocal<T> {
    first: OnceLock<Box<Generation<T>>>,
}

/// The value of one process, and behind it that of a process which was forked from it.
#[derive(Debug)]
struct Generation<T> {
    pid: u32,
    value: T,
    next: OnceLock<Box<Self>>,
}

impl<T: Default> ProcessLocal<T> {
    /// A value that is not made yet.
    pub const fn new() -> Self {
        Self { first: OnceLock::new() }
    }

    /// The value of this process.
    pub fn get(&self) -> &T {
        self.of(std::process::id())
    }

    /// In a process that was forked and has no value of its own yet: that of its parent, as it was at the fork.
    /// Whatever is locked in it stays so.
    pub fn inherited(&self) -> Option<&T> {
        let pid = std::process::id();
        self.last().filter(|last| last.pid != pid).map(|last| &last.value)
    }

    fn of(&self, pid: u32) -> &T {
        let make = || Box::new(Generation { pid, value: T::default(), next: OnceLock::new() });
        // The last one counts: a process may have the number of one of its forebears.
        let last = self.last().unwrap_or_else(|| self.first.get_or_init(make));
        let ours = if last.pid == pid { last } else { last.next.get_or_init(make) };
        &ours.value
    }

    fn last(&self) -> Option<&Generation<T>> {
        let mut last = self.first.get()?;
        while let Some(next) = last.next.get() {
            last = next;
        }
        Some(last)
    }
}

impl<T: Default> Default for ProcessLocal<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_forked_process_begins_anew_and_cannot_be_held_up_by_its_parents_locks() {
        let local: ProcessLocal<Mutex<u32>> = ProcessLocal::new();
        let held = local.of(1).lock().unwrap();
        *local.of(2).lock().unwrap() = 7;
        assert_eq!(*local.of(2).lock().unwrap(), 7);
        assert_eq!(*local.of(3).lock().unwrap(), 0);
        drop(held);
    }

    #[test]
    fn the_number_of_a_forebear_is_no_reason_to_take_what_was_its() {
        let local: ProcessLocal<Mutex<u32>> = ProcessLocal::new();
        *local.of(1).lock().unwrap() = 1;
        *local.of(2).lock().unwrap() = 2;
        assert_eq!(*local.of(1).lock().unwrap(), 0);
    }
}
