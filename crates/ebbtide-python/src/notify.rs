//! Telling an event loop that something is over.
//!
//! One descriptor for each event loop, which becomes readable, and a list of what is over by numbers that the loop's
//! side has given. The thread that completes something touches nothing of Python.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::process::Ours;

/// What an event loop is told by.
pub(crate) struct Bell {
    descriptor: OwnedFd,
    over: Mutex<Vec<u64>>,
}

impl Bell {
    /// Tells that what has this number is over.
    pub(crate) fn ring(&self, number: u64) {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        // Fails only where it has been rung four billion times and is readable for sure.
        let _ = rustix::io::write(self.descriptor.as_fd(), &1_u64.to_ne_bytes());
    }
}

/// The event loop's side.
#[pyclass(frozen, module = "ebbtide._native")]
pub(crate) struct Notifier {
    bell: Ours<Arc<Bell>>,
}

impl Notifier {
    pub(crate) fn bell(&self) -> PyResult<Arc<Bell>> {
        Ok(Arc::clone(self.bell.get().map_err(crate::failure::refused)?))
    }
}

#[pymethods]
impl Notifier {
    #[new]
    fn new() -> PyResult<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| PyOSError::new_err(error.raw_os_error()))?;
        Ok(Self { bell: Ours::new(Arc::new(Bell { descriptor, over: Mutex::default() })) })
    }

    /// The descriptor that is readable when something is over.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.bell()?.descriptor.as_raw_fd())
    }

    /// The numbers of what is over since the last call.
    fn drain(&self) -> PyResult<Vec<u64>> {
        let bell = self.bell()?;
        // Emptied before the list is taken: what comes in between makes it readable again.
        let _ = rustix::io::read(bell.descriptor.as_fd(), &mut [0_u8; 8]);
        let mut over = bell.over.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *over))
    }
}
