//! Ebbtide as a contender: a daemon of its own home, called over a warm channel as any Rust program calls it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ebbtide::proto::coreweave::sandbox::v1 as wire;
use ebbtide::{
    Client, ConnectOptions, Connection, ExecCommand, ExecEvent, HomeLocation, Sandbox, Target, connect,
};

use crate::Error;
use crate::peers::PROGRAM;

/// A daemon and a connection to it.
pub(crate) struct Daemon {
    ebb: PathBuf,
    state_dir: PathBuf,
    /// The id that every kernel name of this home carries.
    pub(crate) home_id: String,
    client: Client,
    connection: Connection,
    serving: Serving,
}

/// When each call of a sandbox's life had its answer, from the first request on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// CreateSandbox.
    pub(crate) created: Duration,
    /// The exit code of the first command.
    pub(crate) answered: Duration,
    /// DeleteSandbox.
    pub(crate) deleted: Duration,
    /// Wait.
    pub(crate) gone: Duration,
}

impl Daemon {
    /// Starts a daemon for a new home in `state_dir`, which can be called over TCP too.
    pub(crate) async fn start(ebb: &Path, state_dir: &Path) -> Result<Self, Error> {
        Self::start_with(ebb, state_dir, "").await
    }

    /// As [`Daemon::start`], with these settings.
    pub(crate) async fn start_with(ebb: &Path, state_dir: &Path, settings: &str) -> Result<Self, Error> {
        let location = HomeLocation::new(state_dir, "/run/ebbtide");
        let home = location.open()?;
        std::fs::write(state_dir.join("ebbtide.toml"), settings)
            .map_err(Error::io("writing the settings"))?;
        let key = create_key(ebb, state_dir)?;
        let serving = Serving::start(ebb, state_dir, key)?;
        let options = ConnectOptions { executable: Some(ebb.to_owned()), ..Default::default() };
        let client = connect(&home, &options).await?;
        Ok(Self {
            ebb: ebb.to_owned(),
            state_dir: state_dir.to_owned(),
            home_id: home.id().to_owned(),
            client,
            connection: Connection::to(Target::Home(location), options),
            serving,
        })
    }

    /// The directory of its home.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where it listens, and a key that opens it.
    pub(crate) fn address(&self) -> (&str, &str) {
        (&self.serving.url, &self.serving.key)
    }

    /// From the request to the answer of the first command, and on to the word that everything is gone.
    pub(crate) async fn once(&self) -> Result<Life, Error> {
        self.once_from("host").await
    }

    /// As [`Daemon::once`], from an image.
    pub(crate) async fn once_from(&self, image: &str) -> Result<Life, Error> {
        let started = Instant::now();
        let id = self.create(image).await?;
        let created = started.elapsed();
        self.true_in(&id).await?;
        let answered = started.elapsed();
        self.delete(&id).await?;
        let deleted = started.elapsed();
        self.client.wait(&id).await?;
        Ok(Life { created, answered, deleted, gone: started.elapsed() })
    }

    /// Makes a sandbox and waits until a command can be run in it.
    pub(crate) async fn idle(&self) -> Result<String, Error> {
        let id = self.create("host").await?;
        self.true_in(&id).await?;
        Ok(id)
    }

    /// A sandbox as a program holds it.
    pub(crate) async fn handle(&self, id: &str) -> Result<Sandbox, Error> {
        Ok(Sandbox::from_id_on(&self.connection, id).await?)
    }

    /// Runs the program in a sandbox that runs, by its handle.
    pub(crate) async fn exec_by_handle(&self, sandbox: &Sandbox) -> Result<Duration, Error> {
        let started = Instant::now();
        sandbox.exec([PROGRAM]).check().output().await?;
        Ok(started.elapsed())
    }

    /// Runs the program in a sandbox that runs.
    pub(crate) async fn exec(&self, id: &str) -> Result<Duration, Error> {
        let started = Instant::now();
        self.true_in(id).await?;
        Ok(started.elapsed())
    }

    /// Stops a sandbox with no grace; over when everything of it is gone.
    pub(crate) async fn stop(&self, id: &str) -> Result<Duration, Error> {
        let started = Instant::now();
        self.delete(id).await?;
        self.client.wait(id).await?;
        Ok(started.elapsed())
    }

    /// Whether `ebb doctor` finds nothing wrong, and what it says.
    pub(crate) fn doctor(&self) -> Result<(bool, String), Error> {
        let output = self.ebb(&["doctor", "--json"])?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Ends everything of the home.
    pub(crate) fn shutdown(&self) -> Result<(), Error> {
        let output = self.ebb(&["shutdown"])?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Unexpected(format!("`ebb shutdown` ({})", String::from_utf8_lossy(&output.stderr))))
    }

    /// `ebb` with these arguments, for this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(&self.ebb, &self.state_dir, arguments)
    }

    fn ebb(&self, arguments: &[&str]) -> Result<std::process::Output, Error> {
        self.command(arguments).output().map_err(Error::io(format!("running {}", self.ebb.display())))
    }

    async fn create(&self, image: &str) -> Result<String, Error> {
        let container = wire::Container { name: "main".into(), image: image.into(), ..Default::default() };
        let spec = wire::SandboxSpec { containers: vec![container], ..Default::default() };
        Ok(self.client.create(spec, "").await?.sandbox_id)
    }

    async fn true_in(&self, id: &str) -> Result<(), Error> {
        let command = ExecCommand { sandbox_id: id.into(), argv: vec![PROGRAM.into()], ..Default::default() };
        let mut exec = self.client.exec(command).await?;
        exec.stdin.close().await;
        loop {
            match exec.events.next().await? {
                ExecEvent::Exit(0) => return Ok(()),
                ExecEvent::Ready => {}
                other => return Err(Error::Exec(format!("{other:?}"))),
            }
        }
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        self.client.delete(id, Duration::ZERO, false).await?;
        Ok(())
    }
}

fn command(ebb: &Path, state_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(ebb);
    command.args(arguments).env("EBBTIDE_HOME", state_dir);
    command
}

/// A key of an organisation of its own.
fn create_key(ebb: &Path, state_dir: &Path) -> Result<String, Error> {
    let arguments = ["key", "create", "--organization", "bench"];
    let made = command(ebb, state_dir, &arguments).output().map_err(Error::io("making a key"))?;
    if made.status.success() {
        return Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned());
    }
    Err(Error::Unexpected(format!("`ebb key create` ({})", String::from_utf8_lossy(&made.stderr))))
}

/// `ebb serve`. When it is dropped the daemon ends, if `ebb shutdown` has not ended it before.
struct Serving {
    process: Child,
    url: String,
    key: String,
}

impl Serving {
    fn start(ebb: &Path, state_dir: &Path, key: String) -> Result<Self, Error> {
        let log =
            std::fs::File::create(state_dir.with_extension("log")).map_err(Error::io("making a log"))?;
        let process = command(ebb, state_dir, &["serve", "--json", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(Error::io("starting `ebb serve`"))?;
        // From here on dropping ends it.
        let mut serving = Self { process, url: String::new(), key };
        let mut line = String::new();
        if let Some(stdout) = serving.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(Error::io("hearing `ebb serve`"))?;
        }
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let url = ready["listen"][0].as_str();
        serving.url = url.ok_or_else(|| Error::Unexpected(format!("`ebb serve` ({line})")))?.to_owned();
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
