//! Compiles the `.proto` files with a compiler written in Rust, so that no `protoc` has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/coreweave/sandbox/v1/sandbox.proto",
        "proto/coreweave/sandbox/v1/sandbox_data_plane.proto",
        "proto/coreweave/sandbox/v1/runtime_class.proto",
        "proto/ebbtide/v1/ebbtide.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    // A method without an implementation answers UNIMPLEMENTED. `Bytes` fields share the buffer that a message arrived in instead of copying out of it.
    tonic_prost_build::configure().bytes(".").generate_default_stubs(true).compile_fds(descriptors)?;
    Ok(())
}
