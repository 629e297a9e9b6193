//! Compiles the `.proto` files with a compiler written in Rust, so that no `protoc` has to be installed.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/coreweave/sandbox/v1/sandbox.proto",
        "proto/coreweave/sandbox/v1/sandbox_data_plane.proto",
        "proto/coreweave/sandbox/v1/runtime_class.proto",
        "proto/coreweave/sandbox/v1/discovery.proto",
        "proto/ebbtide/v1/ebbtide.proto",
        "proto/ebbtide/v1/lease.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    write_descriptors(descriptors.clone())?;
    // A method without an implementation answers UNIMPLEMENTED. `Bytes` fields share the buffer that a message arrived in instead of copying out of it.
    tonic_prost_build::configure().bytes(".").generate_default_stubs(true).compile_fds(descriptors)?;
    Ok(())
}

/// Keeps the descriptors for the program itself, which answers with them whoever asks what its services are.
fn write_descriptors(mut descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    for file in &mut descriptors.file {
        // Comments and line numbers, most of it.
        file.source_code_info = None;
    }
    let directory = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(directory.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
