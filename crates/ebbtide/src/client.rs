//! The calls of the protocol, each as one method.

use std::time::Duration;

use ebbtide_model::STOP_FOR_HEADER;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::coreweave::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use ebbtide_proto::ebbtide::v1 as own;
use ebbtide_proto::ebbtide::v1::ebbtide_service_client::EbbtideServiceClient;
use ebbtide_proto::ebbtide::v1::lease_service_client::LeaseServiceClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::exec::STDIN_QUEUE;
use crate::lease::LeaseToken;
use crate::remote::ApiKey;
use crate::{Error, Exec, ExecCommand, ExecEvents, ExecStdin, LogOptions, Logs, StopFor};

const PAGE_SIZE: i32 = 200;
/// The first and the longest pause between two looks at a sandbox that is being made.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The daemon's version.
    pub version: String,
    /// The id of its home.
    pub home_id: String,
    /// The directory of its state.
    pub state_dir: String,
    /// Its process id.
    pub pid: u32,
    /// The version of the protocol that it speaks.
    pub protocol_version: u32,
}

/// Which sandboxes to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    /// Only those that have all of these tags.
    pub tags: Vec<String>,
    /// Only those in this state.
    pub state: Option<wire::State>,
    /// Ended ones too.
    pub show_terminated: bool,
}

/// The image that a sandbox was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxImage {
    /// The digest of its manifest; `None` for the host's own programs, and while it is not known.
    pub digest: Option<String>,
    /// Its own command, whether or not that is what runs; empty if it has none.
    pub command: Vec<String>,
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeAnswer {
    /// How many sandboxes matched.
    pub count: usize,
    /// Those that could not be ended.
    pub failed: Vec<String>,
    /// Those that could not be ended at the moment; asking again may help.
    pub retryable: Vec<String>,
}

/// A channel that puts the API key on each call.
pub(crate) type Keyed = InterceptedService<Channel, ApiKey>;

/// A connection to a daemon. Cheap to clone; usable from any task.
#[derive(Debug, Clone)]
pub struct Client {
    sandboxes: SandboxServiceClient<Keyed>,
    pub(crate) own: EbbtideServiceClient<Keyed>,
    pub(crate) leases: LeaseServiceClient<Keyed>,
}

impl Client {
    pub(crate) fn new(channel: Channel, key: ApiKey) -> Self {
        let limit = ebbtide_proto::MAX_MESSAGE_BYTES;
        let channel = InterceptedService::new(channel, key);
        Self {
            sandboxes: SandboxServiceClient::new(channel.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            own: EbbtideServiceClient::new(channel.clone()).max_decoding_message_size(limit),
            leases: LeaseServiceClient::new(channel).max_decoding_message_size(limit),
        }
    }

    /// The service of Ebbtide's own, for one call.
    pub(crate) fn own(&self) -> EbbtideServiceClient<Keyed> {
        self.own.clone()
    }

    /// Asks who is there.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn info(&self) -> Result<Info, Error> {
        let own::InfoResponse { version, home_id, state_dir, pid, protocol_version } =
            self.own().info(own::InfoRequest {}).await?.into_inner();
        Ok(Info { version, home_id, state_dir, pid, protocol_version })
    }

    /// Asks for a sandbox. It is on record when this returns; making it goes on. The same `request_id` with the
    /// same body answers with the same sandbox.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn create(&self, spec: wire::SandboxSpec, request_id: &str) -> Result<wire::Sandbox, Error> {
        self.create_as(spec, request_id, None).await
    }

    /// As [`Client::create`], for the lease.
    pub(crate) async fn create_as(
        &self,
        spec: wire::SandboxSpec,
        request_id: &str,
        lease: Option<&LeaseToken>,
    ) -> Result<wire::Sandbox, Error> {
        let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
        let request = wire::CreateSandboxRequest { sandbox, request_id: request_id.to_owned() };
        let request = LeaseToken::put_on(lease, request);
        Ok(self.sandboxes.clone().create_sandbox(request).await?.into_inner())
    }

    /// What is known of a sandbox.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn get(&self, id: &str) -> Result<wire::Sandbox, Error> {
        let request = wire::GetSandboxRequest { sandbox_id: id.to_owned() };
        Ok(self.sandboxes.clone().get_sandbox(request).await?.into_inner())
    }

    /// The image that a sandbox was made of, once it runs.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn sandbox_image(&self, id: &str) -> Result<SandboxImage, Error> {
        let request = own::SandboxImageRequest { sandbox_id: id.to_owned() };
        let own::SandboxImageResponse { digest, command } =
            self.own().sandbox_image(request).await?.into_inner();
        Ok(SandboxImage { digest: Some(digest).filter(|digest| !digest.is_empty()), command })
    }

    /// Every sandbox that is selected, from all pages.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn list(&self, select: Select) -> Result<Vec<wire::Sandbox>, Error> {
        let mut request = wire::ListSandboxesRequest {
            page_size: PAGE_SIZE,
            tags: select.tags,
            state: select.state.unwrap_or_default().into(),
            show_terminated: select.show_terminated,
            ..Default::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.sandboxes.clone().list_sandboxes(request.clone()).await?.into_inner();
            all.extend(page.sandboxes);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            if page.next_page_token == request.page_token {
                return Err(Error::Protocol("a listing that never ends".to_owned()));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Ends a sandbox: SIGTERM, and SIGKILL after `grace`. Returns once the end is on record; [`Client::wait`]
    /// tells when it is over. `None` if there was none and `missing_ok` allows for that.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn delete(
        &self,
        id: &str,
        grace: Duration,
        missing_ok: bool,
    ) -> Result<Option<wire::Sandbox>, Error> {
        self.delete_as(id, grace, missing_ok, StopFor::Caller, None).await
    }

    /// As [`Client::delete`], for this: unless a caller asked for the end the sandbox may be kept, and is then answered as one
    /// that goes on.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn delete_for(
        &self,
        id: &str,
        grace: Duration,
        stop_for: StopFor,
    ) -> Result<Option<wire::Sandbox>, Error> {
        self.delete_as(id, grace, true, stop_for, None).await
    }

    /// As [`Client::delete`], for this, by the owner of the lease.
    pub(crate) async fn delete_as(
        &self,
        id: &str,
        grace: Duration,
        missing_ok: bool,
        stop_for: StopFor,
        lease: Option<&LeaseToken>,
    ) -> Result<Option<wire::Sandbox>, Error> {
        let request = wire::DeleteSandboxRequest {
            sandbox_id: id.to_owned(),
            grace_period_seconds: i32::try_from(grace.as_secs()).unwrap_or(i32::MAX),
            allow_missing: missing_ok,
            ..Default::default()
        };
        let mut request = LeaseToken::put_on(lease, request);
        if let Some(value) = stop_for.header() {
            request.metadata_mut().insert(STOP_FOR_HEADER, MetadataValue::from_static(value));
        }
        match self.sandboxes.clone().delete_sandbox(request).await.map_err(Error::from) {
            Ok(answer) => Ok(answer.into_inner().sandbox),
            Err(error) if missing_ok && error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends every sandbox that has all of `tags`, or every one if `all` says so.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn purge(&self, tags: &[String], all: bool, dry_run: bool) -> Result<PurgeAnswer, Error> {
        let request = wire::PurgeSandboxesRequest {
            tags: tags.to_vec(),
            dry_run,
            purge_all: all,
            ..Default::default()
        };
        let answer = self.sandboxes.clone().purge_sandboxes(request).await?.into_inner();
        Ok(PurgeAnswer {
            count: usize::try_from(answer.purge_count).unwrap_or_default(),
            failed: answer.failed_sandbox_ids,
            retryable: answer.retryable_failed_sandbox_ids,
        })
    }

    /// Runs a command in a sandbox; waits while the sandbox is still being made.
    ///
    /// # Errors
    /// When the sandbox is not there, does not run, or the call fails. A command that cannot be run is an event.
    pub async fn exec(&self, command: ExecCommand) -> Result<Exec, Error> {
        self.exec_within(command, None).await
    }

    /// As [`Client::exec`]; a command that takes longer than `timeout` is ended.
    ///
    /// # Errors
    /// As [`Client::exec`].
    pub async fn exec_within(&self, command: ExecCommand, timeout: Option<Duration>) -> Result<Exec, Error> {
        let (requests, queue) = mpsc::channel(STDIN_QUEUE);
        // There is room: the queue is new.
        let _ = requests.send(command.into_message()).await;
        let mut request = tonic::Request::new(ReceiverStream::new(queue));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let responses = self.sandboxes.clone().stream_exec(request).await?.into_inner();
        Ok(Exec { stdin: ExecStdin { requests }, events: ExecEvents { responses } })
    }

    /// Reads the output of a sandbox's main command, while the sandbox runs or after its end. Nothing is asked of the
    /// daemon before the first [`Logs::next`].
    pub fn logs(&self, id: &str, options: LogOptions) -> Logs {
        Logs::new(self.clone(), id, options)
    }

    pub(crate) async fn stream_logs(
        &self,
        request: wire::StreamLogsRequest,
    ) -> Result<Streaming<wire::LogEntry>, Error> {
        Ok(self.sandboxes.clone().stream_logs(request).await?.into_inner())
    }

    /// Waits, without bound, until a sandbox has ended and everything that it held is released.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn wait(&self, id: &str) -> Result<wire::Sandbox, Error> {
        let request = own::WaitRequest { sandbox_id: id.to_owned() };
        Ok(self.own().wait(request).await?.into_inner())
    }

    /// Waits until commands can be run in a sandbox, or it has ended, or `limit` has passed without a word of what it
    /// waits for: while its image is being pulled, for example, that is said anew all the time.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn wait_started(&self, id: &str, limit: Duration) -> Result<wire::Sandbox, Error> {
        self.wait_started_showing(id, limit, |_| ()).await
    }

    /// As [`Client::wait_started`]; each look at the sandbox is shown to `show`.
    ///
    /// # Errors
    /// As [`Client::wait_started`].
    pub async fn wait_started_showing(
        &self,
        id: &str,
        limit: Duration,
        show: impl Fn(&wire::Sandbox),
    ) -> Result<wire::Sandbox, Error> {
        let mut deadline = Instant::now() + limit;
        let (mut pause, longest) = PAUSES;
        let mut said = String::new();
        loop {
            let sandbox = self.get(id).await?;
            let (state, reason) = match &sandbox.status {
                Some(status) => (status.state(), status.state_reason.as_str()),
                None => Default::default(),
            };
            let starting = matches!(state, wire::State::Pending | wire::State::Creating);
            if reason != said {
                reason.clone_into(&mut said);
                deadline = Instant::now() + limit;
            }
            let next = Instant::now() + pause;
            if !starting || next > deadline {
                return Ok(sandbox);
            }
            show(&sandbox);
            sleep_until(next).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Ends every sandbox of the home, the runtime's helpers and the daemon.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.own().shutdown(own::ShutdownRequest {}).await?;
        Ok(())
    }
}
