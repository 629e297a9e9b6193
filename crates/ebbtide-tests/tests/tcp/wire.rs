//! The protocol as a gRPC client of somebody else's speaks it: what every server has, and how much fits.

use ebbtide_proto::MAX_MESSAGE_BYTES;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use ebbtide_proto::tonic_types::StatusExt as _;
use ebbtide_tests::{Machine, with_key};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;

use crate::site::{Site, key};

/// A request for a sandbox with a variable of this size.
fn sandbox(bytes: usize) -> wire::CreateSandboxRequest {
    let environment = [("LARGE".to_owned(), "x".repeat(bytes))];
    let container =
        wire::Container { environment_variables: environment.into_iter().collect(), ..Default::default() };
    let spec = wire::SandboxSpec { containers: vec![container], ..Default::default() };
    let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
    wire::CreateSandboxRequest { sandbox, ..Default::default() }
}

#[tokio::test]
async fn health_and_reflection_answer_and_a_message_has_a_bound() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = key(&home, "one").secret;
    let site = Site::start(&home, &[]);
    let channel = Endpoint::from_shared(site.url.clone()).unwrap().connect().await.unwrap();

    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    let symbol = "coreweave.sandbox.v1.SandboxService".to_owned();
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
    };
    let questions = || tokio_stream::iter([question.clone()]);
    let refused = ServerReflectionClient::new(channel.clone()).server_reflection_info(questions()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let mut keyed = ServerReflectionClient::new(with_key(&channel, &secret));
    let mut answers = keyed.server_reflection_info(questions()).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    drop(answers);

    let mut client = SandboxServiceClient::new(with_key(&channel, &secret))
        .max_encoding_message_size(2 * MAX_MESSAGE_BYTES);
    let refused = client.create_sandbox(sandbox(MAX_MESSAGE_BYTES)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("larger than max"), "{}", refused.message());
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CWSANDBOX_INVALID_REQUEST");
    // What fits is read: it is refused for what it says.
    let refused = client.create_sandbox(sandbox(MAX_MESSAGE_BYTES - 1024)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    drop((client, keyed, channel));
    assert!(site.list(&secret).is_empty(), "something was made");
    site.end();
}
