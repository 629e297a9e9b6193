//! Images as files: in and out of the store without a registry.
//!
//! What comes in is recognised by its content. An archive is read in place, or, where it cannot be (a pipe, a compressed
//! archive), from a file without a name in the store, so nothing has to be cleaned up after it. No path that it
//! holds is ever used to write; every blob goes through the store's [`Ingest`](crate::Ingest), which takes none
//! whose digest is another than was said.

mod docker;
mod error;
mod files;
mod ingest;
mod load;
mod oci;
mod root;
mod save;
mod spool;
mod tar_index;

pub use error::{LoadError, SaveError};
pub use load::{LoadSource, load, load_directory, load_tar};
pub use root::RootConfig;
pub use save::{save_docker_archive, save_oci_archive, save_oci_directory};

/// Told how many bytes more have been moved.
type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// The name of an image in an OCI layout, as containerd and Docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The same, as the OCI says it; some tools write a tag alone.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
