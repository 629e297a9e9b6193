//! Programs that own a sandbox, each in a process of its own: an ignored test of the same executable that is run alone, says
//! what it does line by line as `WHAT: ANSWER`, and first `owns: ID`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ebbtide::{Connection, Keep, Sandbox, SandboxBuilder};
use rustix::process::Signal;

use crate::home::TestHome;
use crate::network::Space;
use crate::started::Started;

/// How long a program may take to do something, for most of what it does.
const LIMIT: Duration = Duration::from_secs(60);

/// Such a program, killed at the end of the test.
#[derive(Debug)]
pub struct Program {
    process: Started,
    orders: ChildStdin,
    answers: Receiver<String>,
    /// The sandbox that it owns.
    pub id: String,
}

impl Program {
    /// Starts the test of this name in this place, if not in the machine's own, with these variables: they say where its
    /// daemon is, and what its sandbox is like.
    ///
    /// # Panics
    /// When it does not come to own one.
    pub fn start(test: &str, place: Option<&Space>, environment: &[(&str, &str)]) -> Self {
        let executable = std::env::current_exe().expect("the path of this test");
        let mut command = match place {
            Some(place) => place.command(executable),
            None => Command::new(executable),
        };
        command.args(["--ignored", "--exact", "--nocapture", test]).envs(environment.iter().copied());
        let mut process = Started::new(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (lines, answers) = channel();
        let stdout = BufReader::new(process.stdout());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let orders = process.stdin();
        let mut program = Self { process, orders, answers, id: String::new() };
        program.id = program.answer("owns", LIMIT);
        program
    }

    /// As [`Program::start`], of the daemon of this home.
    ///
    /// # Panics
    /// As [`Program::start`] does.
    pub fn at_home(home: &TestHome, test: &str, environment: &[(&str, &str)]) -> Self {
        let (state, binary) = (home.state_dir(), home.binary());
        let known = [
            ("EBBTIDE_HOME", state.to_str().expect("a path in UTF-8")),
            ("EBBTIDE_BIN", binary.to_str().expect("a path in UTF-8")),
        ];
        Self::start(test, None, &[&known, environment].concat())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Tells it to do something.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("tell a program what to do");
    }

    /// What it says of something that it does.
    ///
    /// # Panics
    /// When it says nothing in time.
    pub fn answer(&self, to: &str, limit: Duration) -> String {
        loop {
            let line = self.answers.recv_timeout(limit);
            let line = line.unwrap_or_else(|_| panic!("no answer to {to:?} within {limit:?}"));
            if let Some((order, said)) = line.split_once(": ")
                && order == to
            {
                return said.to_owned();
            }
        }
    }

    /// Does something and says what came of it.
    ///
    /// # Panics
    /// As [`Program::order`] and [`Program::answer`] do.
    pub fn does(&mut self, order: &str) -> String {
        self.order(order);
        self.answer(order, LIMIT)
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Panics
    /// When somebody else has waited for it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// In a program: a sandbox as its test has asked for it, by the variables `TEST_ORPHAN_GRACE` (seconds) and `TEST_KEEP`.
///
/// # Panics
/// When they make no sense.
pub fn asked_for(connection: &Connection) -> SandboxBuilder {
    let mut builder = Sandbox::builder().connection(connection.clone());
    if let Ok(grace) = std::env::var("TEST_ORPHAN_GRACE") {
        builder = builder.orphan_grace(Duration::from_secs(grace.parse().expect("a number of seconds")));
    }
    if let Ok(keep) = std::env::var("TEST_KEEP") {
        builder = builder.keep(keep.parse::<Keep>().expect("a policy"));
    }
    builder
}
