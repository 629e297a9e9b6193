//! A terminal in a sandbox: as a person uses it, under a real terminal multiplexer, and as a program does.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ebbtide::{Client, ConnectOptions, ExecCommand, ExecEvent, HomeLocation, WindowSize};
use ebbtide_tests::command::kill;
use ebbtide_tests::{Ebb, Machine, TestHome, eventually};
use rustix::process::Signal;
use tokio::time::timeout;

/// Bounds each step; not a promise of speed.
const SOON: Duration = Duration::from_secs(30);

/// A person's terminal: a local shell in tmux, with a home's environment.
struct Tmux {
    socket: String,
    directory: PathBuf,
}

impl Tmux {
    fn start(home: &TestHome) -> Self {
        let directory = home.directory().to_owned();
        let tmux = Self { socket: directory.join("tmux").to_str().unwrap().to_owned(), directory };
        let start = ["-f", "/dev/null", "new-session", "-d", "-s", "person", "-x", "100", "-y", "30", "sh"];
        let _ = tmux
            .command(&start)
            .env("EBBTIDE_HOME", home.state_dir())
            .env("EBB", home.binary())
            .run()
            .exited(0);
        // The shell of root knows no prompt of the environment's.
        tmux.line("PS1='here''$ '");
        tmux.shows("here$");
        tmux
    }

    fn command(&self, args: &[&str]) -> Ebb {
        Ebb::new("tmux", ["-S", &self.socket].iter().chain(args))
    }

    /// Types a line.
    fn line(&self, text: &str) {
        let _ = self.command(&["send-keys", "-t", "person", "-l", text]).run().exited(0);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        let _ = self.command(&["send-keys", "-t", "person", key]).run().exited(0);
    }

    fn screen(&self) -> String {
        self.command(&["capture-pane", "-p", "-J", "-t", "person"]).run().ok()
    }

    /// Waits until the screen shows this.
    fn shows(&self, words: &str) {
        let mut screen = String::new();
        let shown = ebbtide_tests::holds_within(SOON, || {
            screen = self.screen();
            screen.contains(words)
        });
        assert!(shown, "{words:?} is not on the screen:\n{screen}");
    }

    /// Whether a full-screen program has the screen.
    fn is_full_screen(&self) -> bool {
        self.command(&["display", "-p", "-t", "person", "#{alternate_on}"]).run().ok() == "1"
    }

    /// Runs a command in the local shell, with the terminal's settings before and after it on record.
    fn run_beside(&self, command: &str) {
        for file in ["before", "after"] {
            let _ = fs::remove_file(self.directory.join(file));
        }
        let at = self.directory.to_str().unwrap();
        self.line(&format!(
            "clear; stty -g > {at}/before; {command}; code=$?; stty -g > {at}/after.new; \
             mv {at}/after.new {at}/after; echo code-$code"
        ));
        // What the screen shows from now on is of this command, and not of the one before.
        eventually("the command begins", SOON, || self.directory.join("before").exists().then_some(()));
    }

    /// Waits for the end of that command; nothing of the terminal may be other than before.
    fn ends(&self, code: i32) {
        let read = |file| fs::read_to_string(self.directory.join(file)).ok();
        let after = eventually("the command ends", SOON, || read("after"));
        assert_eq!(Some(after), read("before"), "the settings of the terminal");
        self.shows(&format!("code-{code}"));
        assert!(!self.is_full_screen(), "the second screen is left on");
        self.line("echo works''-again");
        self.shows("works-again");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).run();
    }
}

/// Opens a shell in a sandbox and a pager in the shell.
fn pager_in(home: &TestHome, tmux: &Tmux) -> String {
    let id = home.create(&[]);
    tmux.run_beside(&format!("$EBB shell {id}"));
    tmux.shows(":/#");
    tmux.line("seq 1 1000 > /tmp/numbers; less /tmp/numbers");
    tmux.shows("/tmp/numbers");
    eventually("the pager has the screen", SOON, || tmux.is_full_screen().then_some(()));
    id
}

#[test]
fn a_person_works_in_a_sandbox_as_in_any_terminal() {
    let machine = Machine::take();
    let home = machine.home();
    let tmux = Tmux::start(&home);
    let _id = pager_in(&home, &tmux);
    tmux.key("G");
    tmux.shows("\n1000");
    tmux.key("q");
    eventually("the pager gives the screen back", SOON, || (!tmux.is_full_screen()).then_some(()));
    tmux.line("clear; stty size; tty");
    tmux.shows("30 100\n/dev/pts/0");
    let _ = tmux.command(&["resize-window", "-t", "person", "-x", "77", "-y", "22"]).run().exited(0);
    tmux.line("until test \"$(stty size)\" = '22 77'; do sleep 0.1; done; echo new''-size");
    tmux.shows("new-size");
    // Said by who has the terminal then: a Ctrl-C while the shell has it still is the shell's.
    tmux.line("sh -c \"echo sleep''ing; exec sleep 1000\"");
    tmux.shows("sleeping");
    tmux.key("C-c");
    tmux.line("echo ended''-by-$?");
    tmux.shows("ended-by-130");
    tmux.line("PS1='th''en> '; sh -c 'exit 7'");
    // A Ctrl-D before the prompt is for whatever has the terminal then.
    tmux.shows("then>");
    tmux.key("C-d");
    tmux.ends(7);
}

#[test]
fn the_terminal_is_given_back_when_the_daemon_is_killed() {
    let machine = Machine::take();
    let home = machine.home();
    let tmux = Tmux::start(&home);
    pager_in(&home, &tmux);
    home.kill_daemon();
    tmux.ends(125);
    tmux.shows("ebb:");
}

#[test]
fn the_terminal_is_given_back_when_the_init_of_the_sandbox_is_killed() {
    let machine = Machine::take();
    let home = machine.home();
    let tmux = Tmux::start(&home);
    let id = pager_in(&home, &tmux);
    kill(home.init_of(&id), Signal::KILL);
    tmux.ends(125);
    tmux.shows("ebb:");
}

#[test]
fn the_terminal_is_given_back_when_a_signal_ends_the_command_line() {
    let machine = Machine::take();
    let home = machine.home();
    let tmux = Tmux::start(&home);
    let id = home.create(&[]);
    let pid = home.directory().join("pid");
    for (signal, code) in [
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::USR1, 138),
    ] {
        tmux.run_beside(&format!("sh -c 'echo $$ > {}; exec $EBB shell {id}'", pid.display()));
        tmux.shows(":/#");
        kill(fs::read_to_string(&pid).unwrap().trim().parse().unwrap(), signal);
        tmux.ends(code);
        fs::remove_file(&pid).unwrap();
    }
    eventually("the shells are gone", SOON, || {
        home.exec(&id, "! pgrep -x bash").run().status.success().then_some(())
    });
}

#[test]
fn one_command_on_a_terminal_leaves_nothing() {
    let machine = Machine::take();
    let home = machine.home();
    {
        let tmux = Tmux::start(&home);
        tmux.run_beside("$EBB run -it -- sh -c 'tty; test -t 0 && test -t 1 && exit 5'");
        tmux.shows("/dev/pts/0");
        tmux.ends(5);
        // Without -i nothing is typed, and Ctrl-C is for the command line.
        tmux.run_beside("$EBB run -t -- sh -c 'stty size; sleep 1000'");
        tmux.shows("30 100");
        tmux.key("C-c");
        tmux.ends(130);
    }
    assert_eq!(home.live(), 0);
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn a_sandbox_without_bash_has_a_shell_too() {
    let machine = Machine::take();
    let home = machine.home();
    let tmux = Tmux::start(&home);
    let id = home.create(&[]);
    let without = "rm /bin && mkdir /bin && ln -s /usr/bin/sh /bin/sh";
    let _ = home.ebb(["exec", &id, "--", "/usr/bin/sh", "-c", without]).run().exited(0);
    tmux.run_beside(&format!("$EBB shell {id}"));
    tmux.shows("#");
    tmux.line("readlink /proc/$$/exe");
    tmux.shows("/usr/bin/dash");
    tmux.line("exit 3");
    tmux.ends(3);
}

#[test]
fn without_a_terminal_of_our_own_none_is_given_and_nothing_is_made() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    for args in [vec!["exec", "-it", &id, "--", "true"], vec!["shell", &id], vec!["run", "-t", "--", "true"]]
    {
        let refused = home.ebb(args).run().exited(125);
        assert!(refused.error().contains("standard input is not a terminal"), "{}", refused.error());
    }
    // To pass input on needs none.
    assert_eq!(home.ebb(["exec", "-i", &id, "--", "cat"]).stdin("typed").run().ok(), "typed");
    assert_eq!(home.live(), 1);
}

async fn connect(home: &TestHome) -> Client {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { autostart: false, ..ConnectOptions::default() };
    ebbtide::connect(&location.open().unwrap(), &options).await.unwrap()
}

/// Runs a command on a terminal, types this, closes the keyboard, and answers with what was shown.
async fn shown(client: &Client, id: &str, argv: &[&str], typed: &str) -> (String, i32) {
    let argv = argv.iter().map(ToString::to_string).collect();
    let terminal = Some(WindowSize { columns: 100, rows: 30 });
    let command = ExecCommand { sandbox_id: id.to_owned(), argv, terminal, ..ExecCommand::default() };
    let work = async {
        let mut exec = client.exec(command).await.unwrap();
        // A command that reads nothing may have ended by now.
        let _ = exec.stdin.write(typed.as_bytes().to_vec()).await;
        exec.stdin.close().await;
        let mut shown = Vec::new();
        loop {
            match exec.events.next().await.unwrap() {
                ExecEvent::Ready => {}
                ExecEvent::Stdout(data) => shown.extend_from_slice(&data),
                ExecEvent::Exit(code) => return (String::from_utf8_lossy(&shown).into_owned(), code),
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(SOON, work).await.expect("the command ends")
}

#[tokio::test]
async fn a_shell_whose_keyboard_is_closed_does_what_was_typed_and_ends() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let client = connect(&home).await;
    // Typed and closed before the shell has looked at its terminal, and while another program has it.
    for typed in ["echo said''-it\r", "cat\rhalf a line", "read x; echo said''-it\r"] {
        let (shown, code) = shown(&client, &id, &["bash"], typed).await;
        assert!(shown.contains("said-it") || !typed.contains("echo"), "{shown:?}");
        assert!(code <= 1, "{code}: {shown:?}");
    }
}

#[tokio::test]
async fn a_terminal_in_a_sandbox_takes_no_typing_by_programs_and_knows_its_characters() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&[]);
    let client = connect(&home).await;
    let type_in = "import fcntl, termios\nfor request in (termios.TIOCSTI, 0x541c):\n \
                   try: fcntl.ioctl(0, request, b'x'); print('typed')\n except OSError as error: print(error.errno)";
    let (said, _) = shown(&client, &id, &["python3", "-c", type_in], "").await;
    assert_eq!(said, "1\r\n1\r\n", "both are refused");
    let (settings, _) = shown(&client, &id, &["stty", "-a"], "").await;
    assert!(settings.contains("iutf8") && !settings.contains("-iutf8"), "{settings}");
    let (owner, _) = shown(&client, &id, &["sh", "-c", "stat -c %u:%t:%T $(tty); echo >/dev/tty"], "").await;
    assert!(owner.starts_with("0:88:"), "{owner}");
}
