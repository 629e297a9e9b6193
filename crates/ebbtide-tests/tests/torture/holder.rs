//! A program of the Rust SDK that holds a lease: it makes, adopts and lets go of sandboxes as it is told, until it dies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use ebbtide::{Connection, Error, ErrorKind, Sandbox};
use ebbtide_tests::{Started, TestHome, scale};
use tokio::io::AsyncBufReadExt as _;

use super::network::Network;
use super::policy::{GRACE_ELSEWHERE, Policy};
use super::world::held;

/// What it is told, and where the answer goes.
type Asked = Arc<Mutex<Option<BTreeMap<usize, Sender<String>>>>>;

/// How a program elsewhere calls the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    /// The port that the daemon listens at.
    pub(crate) port: u16,
    /// What lets it in.
    pub(crate) key: String,
}

/// Such a program, killed at the end.
pub(crate) struct Holder {
    pub(crate) process: Started,
    stdin: Arc<Mutex<ChildStdin>>,
    asked: Asked,
}

impl Holder {
    /// One that calls the daemon of this home.
    pub(crate) fn at_home(home: &TestHome) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
        command.env("EBBTIDE_HOME", home.state_dir()).env("EBBTIDE_BIN", home.binary());
        Self::start(command)
    }

    /// One that calls it over a network.
    pub(crate) fn elsewhere(network: &Network, at: &Elsewhere) -> Self {
        let mut command = network.command(std::env::current_exe().expect("the path of this test"));
        command.env("EBBTIDE_URL", format!("http://{}:{}", network.here(), at.port));
        command.env("EBBTIDE_API_KEY", &at.key);
        // A peer that has vanished is noticed after three of them.
        command.env("EBBTIDE_LEASE_HEARTBEAT", "5");
        command.env("TEST_ORPHAN_GRACE", GRACE_ELSEWHERE.as_secs().to_string());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        // This test's own executable, with only the test below.
        command.args([
            "--ignored",
            "--exact",
            "--nocapture",
            "holder::does_what_it_is_told_until_it_is_killed",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Started::new(&mut command);
        let stdin = Arc::new(Mutex::new(process.stdin()));
        let asked: Asked = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let (lines, answers) = (BufReader::new(process.stdout()), Arc::clone(&asked));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let Some((number, words)) =
                    line.strip_prefix("answer ").and_then(|line| line.split_once(' '))
                else {
                    continue;
                };
                let number = number.parse().unwrap_or_default();
                let asked = held(&answers).as_mut().and_then(|asked| asked.remove(&number));
                let _ = asked.map(|asked| asked.send(words.to_owned()));
            }
            // It is gone: nobody gets an answer any more.
            held(&answers).take();
        });
        Self { process, stdin, asked }
    }

    /// What tells it things, also from other threads.
    pub(crate) fn ask(&self) -> Ask {
        Ask { stdin: Arc::clone(&self.stdin), asked: Arc::clone(&self.asked) }
    }
}

/// Tells a program that holds a lease what to do.
pub(crate) struct Ask {
    stdin: Arc<Mutex<ChildStdin>>,
    asked: Asked,
}

impl Ask {
    /// Tells it something. What is returned has the answer, or is at its end when the program is.
    pub(crate) fn tell(&self, number: usize, words: &str) -> Receiver<String> {
        let (sender, receiver) = channel();
        if let Some(asked) = held(&self.asked).as_mut() {
            asked.insert(number, sender);
        }
        let _ = writeln!(held(&self.stdin), "{number} {words}");
        receiver
    }
}

#[tokio::test]
#[ignore = "a part of the other tests, which run it in a process of its own"]
async fn does_what_it_is_told_until_it_is_killed() {
    let connection = Connection::from_env().expect("a daemon is named");
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let connection = connection.clone();
        tokio::spawn(async move {
            let (number, words) = line.split_once(' ').unwrap_or_default();
            let said = match obey(&connection, words).await {
                Ok((sandbox, words)) => {
                    // Whoever drops the last handle stops the sandbox.
                    std::mem::forget(sandbox);
                    words
                }
                Err(error) => format!("refused {} {}", refusal(&error), error.to_string().replace('\n', " ")),
            };
            println!("answer {number} {said}");
        });
    }
    // Whoever has started it is gone. No destructor runs: they would stop its sandboxes.
    std::process::exit(0);
}

/// Whether nothing has been done for certain.
fn refusal(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Owned | ErrorKind::NotFound | ErrorKind::NotRunning => "clearly",
        _ => "unclearly",
    }
}

async fn obey(connection: &Connection, words: &str) -> Result<(Sandbox, String), Error> {
    let mut words = words.split(' ');
    let (verb, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if verb == "make" {
        let mut builder = Sandbox::builder().connection(connection.clone()).tags(what.split(','));
        let grace = scale("TEST_ORPHAN_GRACE", 0);
        if grace > 0 {
            builder = builder.orphan_grace(std::time::Duration::from_secs(grace as u64));
        }
        let (policy, command): (Vec<&str>, Vec<&str>) = {
            let words: Vec<&str> = words.collect();
            let at = words.iter().position(|word| *word == "--").unwrap_or(words.len());
            (words[..at].to_vec(), words.get(at + 1..).unwrap_or_default().to_vec())
        };
        builder = Policy::read(policy.into_iter()).build(builder);
        if let Some((program, args)) = command.split_first() {
            builder = builder.command(*program).args(args.iter().copied());
        }
        let sandbox = builder.build()?;
        let made = async {
            sandbox.start().await?;
            sandbox.wait().await
        };
        // Also one that was not made is not to be stopped by us: what becomes of it is looked at.
        let made = made.await;
        let id = sandbox.id().unwrap_or_default();
        if let Err(error) = made {
            std::mem::forget(sandbox);
            return Err(error);
        }
        return Ok((sandbox, format!("made {id}")));
    }
    let sandbox = Sandbox::from_id_on(connection, what).await?;
    match verb {
        "adopt" => sandbox.adopt().await.map(drop)?,
        _ => sandbox.detach().await.map(drop)?,
    }
    Ok((sandbox, "done".to_owned()))
}
