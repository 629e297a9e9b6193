//! The module as Python imports it.

use pyo3::prelude::*;

/// The classes under the package `ebbtide`; use those of the package.
#[pymodule]
mod _native {
    use std::os::fd::RawFd;
    use std::path::PathBuf;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::exec::Process;
    #[pymodule_export]
    use crate::files::FileWriter;
    #[pymodule_export]
    use crate::notify::Notifier;
    #[pymodule_export]
    use crate::operation::{Operation, Promise};
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::sandbox::Sandbox;
    #[pymodule_export]
    use crate::session::Session;
    use crate::{failure, owned, repeat};

    /// Sets the `ebb` that a daemon is started with unless the environment names another.
    #[pyfunction]
    fn set_executable(path: PathBuf) {
        crate::connection::set_executable(path);
    }

    /// How many sandboxes end with this process.
    #[pyfunction]
    fn owned_count() -> usize {
        owned::count()
    }

    /// The ids of the sandboxes that end with this process.
    #[pyfunction]
    fn owned_ids() -> Vec<String> {
        owned::ids()
    }

    /// Begins to stop all of them; its outcome is those that could not be stopped.
    #[pyfunction]
    fn clean_up() -> Operation {
        owned::clean_up()
    }

    /// Whether that is under way.
    #[pyfunction]
    fn is_cleaning() -> bool {
        owned::is_cleaning()
    }

    /// Sends this process a signal once more, shortly.
    #[pyfunction]
    fn repeat_signal(number: i32) -> PyResult<()> {
        repeat::repeat(number).map_err(failure::refused)
    }

    /// Whether the signal that is handled now is such a one.
    #[pyfunction]
    fn is_repeated(number: i32) -> bool {
        repeat::is_repeated(number)
    }

    /// In a process that was just forked: the connections of its parent, for it to close.
    #[pyfunction]
    fn inherited_sockets() -> Vec<RawFd> {
        ebbtide::inherited_sockets()
    }
}
