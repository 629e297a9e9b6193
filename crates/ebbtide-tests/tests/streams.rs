//! Many large outputs at once, read at different speeds, some of them never.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use ebbtide::{Client, ConnectOptions, Exec, ExecCommand, ExecEvent, HomeLocation};
use ebbtide_tests::{Machine, TestHome, scale};
use ring::digest::{Context, SHA256};
use tokio::time::{sleep, timeout};

const STREAMS: usize = 64;
const SANDBOXES: usize = 8;
/// What the daemon may use, whatever its clients do.
const DAEMON_MEMORY_KIB: u64 = 200 << 10;
/// Bounds the whole; not a promise of speed.
const LIMIT: Duration = Duration::from_secs(600);

/// How a client reads its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Fast,
    /// Rests after each piece.
    Slow,
    /// Stops for a while in the middle.
    Pausing,
    /// Reads nothing after the first piece, until all others are done.
    Never,
}

impl Reader {
    fn of(stream: usize) -> Self {
        match stream % 8 {
            0 => Self::Never,
            1 | 2 => Self::Slow,
            3 => Self::Pausing,
            _ => Self::Fast,
        }
    }

    async fn rest(self, pieces: usize) {
        match self {
            Self::Slow => sleep(Duration::from_millis(1)).await,
            Self::Pausing if pieces == 20 => sleep(Duration::from_secs(2)).await,
            _ => {}
        }
    }
}

#[test]
fn sixty_four_streams_over_one_connection_arrive_whole_beside_those_that_nobody_reads() {
    run(|clients| clients.truncate(1));
}

#[test]
fn sixty_four_streams_over_as_many_connections_arrive_whole_beside_those_that_nobody_reads() {
    run(|_| ());
}

fn run(choose: impl FnOnce(&mut Vec<Client>)) {
    let machine = Machine::take();
    let home = machine.home();
    let sandboxes: Vec<String> = (0..SANDBOXES).map(|_| home.create(&[])).collect();
    let bytes = scale("EBBTIDE_TEST_STREAM_MEGABYTES", 3) * 1_000_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..STREAMS {
            clients.push(connect(&home).await);
        }
        choose(&mut clients);
        timeout(LIMIT, transfer(&clients, &sandboxes, bytes)).await.expect("all of them end");
    });
    let peak = peak_memory_kib(home.daemon().unwrap());
    assert!(peak < DAEMON_MEMORY_KIB, "the daemon used {peak} KiB");
    eprintln!("{STREAMS} streams of {bytes} bytes: the daemon used {} MiB at most", peak >> 10);
    drop(runtime);
    assert_eq!(home.exec(&sandboxes[0], "echo alive").run().ok(), "alive");
    home.shutdown();
    machine.assert_nothing_left();
}

/// Reads all streams; those that never read hold theirs until the others are done.
async fn transfer(clients: &[Client], sandboxes: &[String], bytes: usize) {
    let mut readers = Vec::new();
    let mut stuck = Vec::new();
    for stream in 0..STREAMS {
        let client = &clients[stream % clients.len()];
        let mut exec = start(client, &sandboxes[stream % sandboxes.len()], stream, bytes).await;
        match Reader::of(stream) {
            Reader::Never => {
                assert!(matches!(exec.events.next().await.unwrap(), ExecEvent::Ready));
                stuck.push(exec);
            }
            reader => readers.push(tokio::spawn(read_all(exec, reader, bytes))),
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    for (index, exec) in stuck.into_iter().enumerate() {
        if index % 2 == 0 {
            // It lost nothing by waiting. The others are dropped, unread to the end.
            read_all(exec, Reader::Fast, bytes).await;
        }
    }
}

/// Starts a command that writes `bytes` bytes, unlike those of any other stream, and then their checksum.
async fn start(client: &Client, sandbox: &str, stream: usize, bytes: usize) -> Exec {
    let script = format!(
        "numbers() {{ seq {from} 999999999 | head -c {bytes}; }}; numbers; numbers | sha256sum >&2",
        from = stream * 10_000_000 + 1
    );
    let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let command = ExecCommand { sandbox_id: sandbox.to_owned(), argv, ..ExecCommand::default() };
    client.exec(command).await.unwrap()
}

/// Reads to the end, and compares what came with what the command says it wrote.
async fn read_all(mut exec: Exec, reader: Reader, bytes: usize) {
    let (mut digest, mut length, mut pieces) = (Context::new(&SHA256), 0, 0);
    let mut told = String::new();
    loop {
        match exec.events.next().await.unwrap() {
            ExecEvent::Ready => {}
            ExecEvent::Stdout(data) => {
                digest.update(&data);
                length += data.len();
                pieces += 1;
                reader.rest(pieces).await;
            }
            ExecEvent::Stderr(text) => told.push_str(std::str::from_utf8(&text).unwrap()),
            ExecEvent::Exit(code) => {
                assert_eq!(code, 0, "{told}");
                break;
            }
            ExecEvent::Failed { message, .. } => panic!("{message}"),
        }
    }
    let sum: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((length, told.split(' ').next()), (bytes, Some(sum.as_str())));
}

async fn connect(home: &TestHome) -> Client {
    let location = HomeLocation::new(home.state_dir(), "/run/ebbtide");
    let options = ConnectOptions { autostart: false, ..ConnectOptions::default() };
    ebbtide::connect(&location.open().unwrap(), &options).await.unwrap()
}

/// The most that a process has ever had in memory.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
