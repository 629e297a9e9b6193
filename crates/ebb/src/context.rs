//! What every verb needs: the home, its daemon, and how to print.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ebbtide::{Client, ConnectOptions, Error, HomeLocation, Remote, Select, Target};
use ebbtide_model::SandboxId;
use serde::Serialize;

use crate::failure::Failure;

/// How often a call that may be repeated is made again when the daemon goes under it.
const ATTEMPTS: usize = 3;
/// How many ids a message names.
const SHOWN_IDS: usize = 5;

/// What the command line said for every verb.
#[derive(Debug)]
pub(crate) struct Context {
    /// Whether to print JSON.
    pub(crate) json: bool,
}

impl Context {
    /// Where the home is; refuses users for whom nothing is built yet.
    pub(crate) fn location(&self) -> Result<HomeLocation, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::NeedsRoot);
        }
        Ok(HomeLocation::from_env().map_err(Error::from)?)
    }

    /// The home, of which this verb can serve no other machine's.
    pub(crate) fn own_location(&self, verb: &'static str) -> Result<HomeLocation, Failure> {
        self.refuse_elsewhere(verb)?;
        self.location()
    }

    /// Refuses a verb that looks at this machine where the environment names a daemon that may be on another.
    pub(crate) fn refuse_elsewhere(&self, verb: &'static str) -> Result<(), Failure> {
        match Remote::from_env().map_err(Error::from)? {
            Some(remote) => Err(Failure::OtherDaemon { verb, url: remote.to_string() }),
            None => Ok(()),
        }
    }

    /// The daemon to call: the one that EBBTIDE_URL names, else that of the home.
    pub(crate) fn daemon(&self) -> Result<Target, Failure> {
        match Remote::from_env().map_err(Error::from)? {
            Some(remote) => Ok(Target::Remote(remote)),
            None => Ok(Target::Home(self.location()?)),
        }
    }

    /// Connects to `daemon`; that of a home is started if there is none.
    pub(crate) async fn connect(&self, daemon: &Target) -> Result<Client, Failure> {
        let executable = Some(own_executable());
        let options = ConnectOptions { executable, ..ConnectOptions::default() };
        Ok(daemon.connect(&options).await?)
    }

    /// Makes a call that may be repeated, again if the daemon goes under it.
    pub(crate) async fn call<T>(
        &self,
        daemon: &Target,
        call: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<(Client, T), Failure> {
        for attempt in 1.. {
            let client = self.connect(daemon).await?;
            match call(&client).await {
                Ok(answer) => return Ok((client, answer)),
                Err(error) if error.is_disconnect() && attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Disconnected("no attempt was made".to_owned()).into())
    }

    /// As [`Context::call`], at first on a connection that is there already.
    pub(crate) async fn call_on<T>(
        &self,
        daemon: &Target,
        client: &Client,
        call: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        match call(client).await {
            Err(error) if error.is_disconnect() => Ok(self.call(daemon, call).await?.1),
            answer => Ok(answer?),
        }
    }

    /// The daemon, and the full form of an id that may be abbreviated.
    pub(crate) async fn resolve(&self, daemon: &Target, id: &str) -> Result<(Client, String), Failure> {
        let (client, mut ids) = self.resolve_all(daemon, &[id.to_owned()]).await?;
        let id = ids.pop().unwrap_or_else(|| Err(Failure::NoSuchSandbox { prefix: id.to_owned() }))?;
        Ok((client, id))
    }

    /// As [`Context::resolve`], for several ids with one listing.
    pub(crate) async fn resolve_all(
        &self,
        daemon: &Target,
        ids: &[String],
    ) -> Result<(Client, Vec<Result<String, Failure>>), Failure> {
        if ids.iter().all(|id| id.parse::<SandboxId>().is_ok()) {
            let client = self.connect(daemon).await?;
            return Ok((client, ids.iter().cloned().map(Ok).collect()));
        }
        let select = Select { show_terminated: true, ..Select::default() };
        let (client, known) = self.call(daemon, async |client| client.list(select.clone()).await).await?;
        let known: Vec<&str> = known.iter().map(|sandbox| sandbox.sandbox_id.as_str()).collect();
        Ok((client, ids.iter().map(|id| complete(id, &known)).collect()))
    }

    /// Prints a result as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::io("write the result as JSON", std::io::Error::other(error)))?;
        self.print(&text)
    }

    /// Prints a line, or several. A reader that has gone away is no failure.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::io("write to standard output", error))
            }
            _ => Ok(()),
        }
    }
}

fn complete(id: &str, known: &[&str]) -> Result<String, Failure> {
    let prefix = id.to_ascii_lowercase();
    let matching: Vec<&str> = known.iter().copied().filter(|known| known.starts_with(&prefix)).collect();
    match matching[..] {
        _ if prefix.is_empty() => Err(Failure::NoSuchSandbox { prefix }),
        [] => Err(Failure::NoSuchSandbox { prefix }),
        [one] => Ok(one.to_owned()),
        _ => {
            let ids = matching.into_iter().take(SHOWN_IDS).map(str::to_owned).collect();
            Err(Failure::Ambiguous { prefix, ids })
        }
    }
}

/// This program, also when its file has been replaced since it was started.
pub(crate) fn own_executable() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| Path::new("/proc/self/exe").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_fits_one_id_is_enough() {
        let known = ["01abc", "01abd", "02xyz"];
        assert_eq!(complete("02", &known).unwrap(), "02xyz");
        assert_eq!(complete("01ABC", &known).unwrap(), "01abc");
        assert!(matches!(complete("01", &known), Err(Failure::Ambiguous { .. })));
        for missing in ["03", "", "01abcd"] {
            assert!(matches!(complete(missing, &known), Err(Failure::NoSuchSandbox { .. })), "{missing:?}");
        }
    }
}
