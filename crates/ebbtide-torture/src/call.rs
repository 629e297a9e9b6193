//! The protocol target's hands: one call of `coreweave.sandbox.v1` per run, with nothing of Ebbtide's own on it.
//!
//! A program of its own per call, because an owner has to be able to die without the suite.

use std::process::ExitCode;
use std::time::Duration;

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use wire::sandbox_service_client::SandboxServiceClient;

/// What the public client asks for when its user names no image; `TORTURE_IMAGE` names another.
const IMAGE: &str = "python:3.11";
/// By which sandboxes of the suite are told from others on the server.
const TAG: &str = "ebb-torture";
const LIMIT: Duration = Duration::from_secs(50);
const PAUSE: Duration = Duration::from_millis(20);

type Client = SandboxServiceClient<InterceptedService<Channel, Bearer>>;

#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// Makes one call, by the words of the command line after `internal-torture-call`.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = done.map_err(|error| error.to_string()).and_then(|runtime| {
        let call = async { tokio::time::timeout(LIMIT, act(&words)).await };
        runtime.block_on(call).unwrap_or_else(|_| Err(format!("no end within {} s", LIMIT.as_secs())))
    });
    match done {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn act(words: &[&str]) -> Result<String, String> {
    let mut client = connect().await?;
    let said = |status: Status| format!("{:?}: {}", status.code(), status.message());
    match words {
        ["available"] => {
            list(&mut client).await.map_err(said)?;
            Ok(format!("coreweave.sandbox.v1 at {}", variable("EBBTIDE_URL").unwrap_or_default()))
        }
        ["create", name, command, rest @ ..] => create(&mut client, name, command, rest).await.map_err(said),
        ["stop", id] => stop(&mut client, id).await.map(|()| String::new()).map_err(said),
        ["enter", id, command @ ..] => {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let request = wire::ExecRequest { sandbox_id: (*id).to_owned(), command, ..Default::default() };
            let answer = client.exec(request).await.map_err(said)?.into_inner();
            match answer.exit_code {
                0 => Ok(String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()),
                code => Err(format!("exit {code}")),
            }
        }
        ["list"] => Ok(list(&mut client).await.map_err(said)?.join("\n")),
        ["purge"] => {
            for id in list(&mut client).await.map_err(said)? {
                stop(&mut client, &id).await.map_err(said)?;
            }
            Ok(String::new())
        }
        _ => Err("this is a part of `ebb torture`; it is called by nobody else".to_owned()),
    }
}

async fn connect() -> Result<Client, String> {
    let url = variable("EBBTIDE_URL").ok_or("EBBTIDE_URL does not name a server of the protocol")?;
    let key = match variable("EBBTIDE_API_KEY") {
        Some(key) => {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {key}").parse().map_err(|_| "EBBTIDE_API_KEY cannot be a key")?;
            value.set_sensitive(true);
            Some(value)
        }
        None => None,
    };
    let failed = |error: tonic::transport::Error| format!("cannot reach {url}: {error}");
    let mut endpoint = Endpoint::from_shared(url.clone()).map_err(failed)?;
    if url.starts_with("https:") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(failed)?;
    }
    let channel = endpoint.connect().await.map_err(failed)?;
    Ok(SandboxServiceClient::with_interceptor(channel, Bearer(key)))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn create(client: &mut Client, name: &str, command: &str, rest: &[&str]) -> Result<String, Status> {
    let container = wire::Container {
        image: variable("TORTURE_IMAGE").unwrap_or_else(|| IMAGE.to_owned()),
        command: command.to_owned(),
        args: rest.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    };
    let spec = wire::SandboxSpec {
        containers: vec![container],
        tags: vec![TAG.to_owned(), name.to_owned()],
        ..Default::default()
    };
    let sandbox = Some(wire::Sandbox { spec: Some(spec), ..Default::default() });
    let request = wire::CreateSandboxRequest { sandbox, ..Default::default() };
    let id = client.create_sandbox(request).await?.into_inner().sandbox_id;
    loop {
        let sandbox = get(client, &id).await?;
        match sandbox.as_ref().map(state) {
            Some(wire::State::Running) => return Ok(id),
            Some(wire::State::Failed | wire::State::Completed | wire::State::Terminated) | None => {
                let why = sandbox.and_then(|sandbox| sandbox.status).unwrap_or_default().state_reason;
                let problem =
                    format!("sandbox {id} ended before it ran: {why}; TORTURE_IMAGE names its image");
                return Err(Status::failed_precondition(problem));
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn stop(client: &mut Client, id: &str) -> Result<(), Status> {
    let request = wire::DeleteSandboxRequest {
        sandbox_id: id.to_owned(),
        grace_period_seconds: 1,
        allow_missing: true,
        ..Default::default()
    };
    client.delete_sandbox(request).await?;
    while let Some(sandbox) = get(client, id).await? {
        if matches!(state(&sandbox), wire::State::Completed | wire::State::Failed | wire::State::Terminated) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn get(client: &mut Client, id: &str) -> Result<Option<wire::Sandbox>, Status> {
    match client.get_sandbox(wire::GetSandboxRequest { sandbox_id: id.to_owned() }).await {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

async fn list(client: &mut Client) -> Result<Vec<String>, Status> {
    let request = wire::ListSandboxesRequest { tags: vec![TAG.to_owned()], ..Default::default() };
    let answer = client.list_sandboxes(request).await?.into_inner();
    Ok(answer.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect())
}

fn state(sandbox: &wire::Sandbox) -> wire::State {
    sandbox.status.as_ref().map_or(wire::State::Unspecified, wire::SandboxStatus::state)
}
