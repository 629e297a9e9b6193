//! `grpc.reflection`, v1 and v1alpha: what the services are, for tools that have no `.proto` files.

use ebbtide_proto::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Adds both versions to `routes`.
pub(crate) fn add(routes: Routes) -> Result<Routes, Error> {
    let services = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(services().build_v1()?).add_service(services().build_v1alpha()?))
}
