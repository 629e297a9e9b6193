//! gRPC over a Unix socket, and over the network for those who have an API key: who asks, what they ask for, and
//! what control says to it as messages and statuses.
//!
//! It stands on hyper's HTTP/2 and tonic's generated services, without tonic's own server: the daemon's idle
//! exit needs to know each connection, and a call's deadline has to end as DEADLINE_EXCEEDED.

mod answer;
mod asked;
mod bounds;
mod caller;
mod connections;
mod deadline;
mod descriptions;
mod discovery;
mod ebbtide;
mod ending;
mod errors;
mod events;
mod exec;
mod files;
mod gate;
mod health;
mod home_file;
mod keys;
mod large_answer;
mod lease;
mod listener;
mod logs;
mod metrics;
mod network;
mod owner;
mod pause;
mod places;
mod purge;
mod reflection;
mod sandboxes;
mod serve;
mod strangers;
mod tls;
mod trace;
mod transfer;

pub use home_file::{HomeFile, HomeFileError, Turn};
pub use keys::{KeyError, KeyFile, KeyRecord, Keys, NewKey, RunKey};
pub use metrics::MetricsPort;
pub use network::NetworkConfig;
pub use serve::{ServeEnd, Server, ServerConfig, ServerError, serve};
pub use tls::{TlsError, TlsFiles};
