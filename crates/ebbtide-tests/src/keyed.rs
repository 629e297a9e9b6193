//! The protocol as a client of somebody else's speaks it: a channel, and a key on each call.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A channel whose calls bring a key.
pub type Keyed = InterceptedService<Channel, Key>;

/// Puts a key on each call.
#[derive(Debug, Clone)]
pub struct Key(MetadataValue<Ascii>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The channel with this key on each call.
///
/// # Panics
/// When it cannot be a key.
pub fn with_key(channel: &Channel, key: &str) -> Keyed {
    let bearer = format!("Bearer {key}").parse().expect("a key that fits into a header");
    InterceptedService::new(channel.clone(), Key(bearer))
}
