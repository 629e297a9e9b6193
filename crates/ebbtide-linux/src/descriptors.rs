//! Letting go of what a process inherited.

/// Closes every descriptor but standard input, output and error.
///
/// A daemon that is started on first use calls it before it opens anything: whoever started it may have had
/// anything open, down to the write end of a pipe whose reader waits for its end. Must not be called once the
/// process owns a descriptor above 2.
pub fn close_inherited_descriptors() {
    // SAFETY: the call takes no pointers, and by the contract above no descriptor above 2 has an owner in this
    // process. It cannot fail: the range is valid and there are no flags.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}
