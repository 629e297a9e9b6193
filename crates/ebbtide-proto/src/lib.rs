//! The wire protocol: types generated from the `.proto` files beside this crate, and the model as messages.
//!
//! `coreweave.sandbox.v1` is the protocol of the public client; Ebbtide's own clients speak it too and use the
//! small `ebbtide.v1` for what it lacks. Turning a message into the model is also where everything that this
//! version cannot do is refused by name: a field that is not understood is never ignored.

mod description;
mod exec;
mod field;
mod refusal;
mod resources;
mod show;
mod spec;
mod unsupported;

pub use description::{
    Standing, deadline_message, description_message, end_message, ownership_kind, ownership_message,
    policy_message, receipt_message,
};
pub use exec::{exec_command, window_size};
pub use field::CreateFields;
pub use refusal::Refusal;
pub use show::{
    ADOPTABLE_UNTIL_ANNOTATION, FILES_UNTIL_ANNOTATION, OWNER_ANNOTATION, OWNERSHIP_ANNOTATION, RUNNER_ID,
    Shown, files_until, sandbox_message, state_from_message, timestamp,
};
pub use spec::sandbox_spec;

/// The version of `ebbtide.v1` that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most bytes of one message, in both directions; what the public client allows.
pub const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;

/// The domain of every `google.rpc.ErrorInfo`; clients trust reasons of this domain only.
pub const ERROR_DOMAIN: &str = "cwsandbox.com";

/// All `.proto` files as an encoded `google.protobuf.FileDescriptorSet`, without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Generated from `coreweave/`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::clone_on_ref_ptr,
    reason = "generated; the .proto files are the documentation"
)]
pub mod coreweave {
    pub mod sandbox {
        pub mod v1 {
            tonic::include_proto!("coreweave.sandbox.v1");
        }
    }
}

/// Generated from `ebbtide/`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::clone_on_ref_ptr,
    reason = "generated; the .proto files are the documentation"
)]
pub mod ebbtide {
    pub mod v1 {
        tonic::include_proto!("ebbtide.v1");
    }
}

/// The buffers of `bytes` fields.
pub use prost::bytes;
/// Errors with details, as `google.rpc` has them.
pub use tonic_types;
