//! The command line of Ebbtide.
fn main() {}
