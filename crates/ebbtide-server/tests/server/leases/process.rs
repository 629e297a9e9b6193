//! An owner that is a process of this machine: what counts is its end.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ebbtide_proto::{ADOPTABLE_UNTIL_ANNOTATION, OWNER_ANNOTATION, OWNERSHIP_ANNOTATION};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncBufReadExt as _;
use tokio::process::Child;

use super::*;

/// The owner that is killed: another process, which holds a lease, makes a sandbox, and hands its connection on to a
/// child of its own.
struct Owner {
    process: Child,
    sandbox: String,
    token: String,
    child: Pid,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = kill_process(self.child, Signal::KILL);
    }
}

const SOCKET: &str = "EBBTIDE_TEST_SOCKET";

#[tokio::test]
#[ignore = "the owner that is killed; started by other tests"]
async fn owner() {
    let socket = std::env::var_os(SOCKET).unwrap();
    let stream = UnixStream::connect(Path::new(&socket)).await.unwrap();
    rustix::io::fcntl_setfd(stream.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let channel = channel(stream).await;
    let held = hold!(LeaseServiceClient::new(channel.clone()), wish(open(0))).await.unwrap();
    let mut sandboxes = wire::sandbox_service_client::SandboxServiceClient::new(channel);
    let token = &held.held.token;
    let id = id_of(sandboxes.create_sandbox(with_lease(wanted(60), token)).await.unwrap());
    let mut child = Command::new("sleep");
    child.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    println!("owner {id} {token} {} {}", held.held.local, child.id());
    // For ever: it is killed.
    std::future::pending::<()>().await;
    child.wait().unwrap();
}

async fn start_owner(daemon: &Daemon) -> Owner {
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leases::process::owner", "--ignored", "--nocapture"])
        .env(SOCKET, &daemon.config.socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(owner.stdout.take().unwrap()).lines();
    let told = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it says what it owns");
            if let Some(words) = line.split_once("owner ").map(|(_, words)| words.to_owned()) {
                return words;
            }
        }
    };
    let words = timeout(SOON, told).await.unwrap();
    let [sandbox, token, local, child] = words.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(local, "true");
    let (sandbox, token) = (sandbox.to_owned(), token.to_owned());
    let child = Pid::from_raw(child.parse().unwrap()).unwrap();
    Owner { process: owner, sandbox, token, child }
}

#[tokio::test]
async fn a_killed_owner_is_noticed_within_a_second_although_a_child_of_it_holds_the_connection() {
    let daemon = Daemon::start().await;
    let mut owner = start_owner(&daemon).await;
    let record = until(&daemon, &owner.sandbox, "owned", SOON).await;
    let process = record.ownership.holder().unwrap().process.unwrap();
    assert_eq!(Some(process.pid), owner.process.id());
    owner.process.start_kill().unwrap();
    let killed = Instant::now();
    until(&daemon, &owner.sandbox, "orphaned", Duration::from_secs(1)).await;
    assert!(killed.elapsed() < Duration::from_secs(1));

    // Any client sees it, and anybody of the same user can take it over.
    let mut client = daemon.client().await;
    let shown = client.get(&owner.sandbox).await.unwrap().spec.unwrap().annotations;
    assert_eq!(shown[OWNERSHIP_ANNOTATION], "orphaned");
    assert!(shown[OWNER_ANNOTATION].contains("a test"), "{shown:?}");
    assert!(shown[ADOPTABLE_UNTIL_ANNOTATION].ends_with('Z'), "{shown:?}");
    let request =
        own::ListDescriptionsRequest { ownership: OwnershipKind::Orphaned.into(), ..Default::default() };
    let orphans = client.own.list_descriptions(request.clone()).await.unwrap().into_inner().descriptions;
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].ownership.as_ref().unwrap().reason, "process_ended");
    let channel = local(&daemon).await;
    let mut leases = LeaseServiceClient::new(channel);
    let held = hold!(leases, wish(open(0))).await.unwrap();
    let adopt = own::AdoptRequest { sandbox_id: owner.sandbox.clone(), owner: None };
    let adopted = leases.adopt(with_lease(adopt, &held.held.token)).await.unwrap().into_inner();
    assert!(adopted.ownership.unwrap().holder.unwrap().mine);
    assert!(client.own.list_descriptions(request).await.unwrap().into_inner().descriptions.is_empty());
    let shown = client.get(&owner.sandbox).await.unwrap().spec.unwrap().annotations;
    assert!(!shown.contains_key(OWNERSHIP_ANNOTATION));
}

#[tokio::test]
async fn an_owner_that_is_stopped_by_a_debugger_is_alive() {
    let daemon = Daemon::start().await;
    let mut owner = start_owner(&daemon).await;
    let pid = Pid::from_raw(owner.process.id().unwrap() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    until(&daemon, &owner.sandbox, "owned", Duration::from_millis(10)).await;
    // Its token is its own: another process that has got hold of it cannot hold the lease.
    let refused = hold!(LeaseServiceClient::new(local(&daemon).await), wish(resume(&owner.token)));
    assert_eq!(reason(&refused.await.map(|_| ()).unwrap_err()), "EBBTIDE_LEASE_INVALID");
    kill_process(pid, Signal::KILL).unwrap();
    until(&daemon, &owner.sandbox, "orphaned", Duration::from_secs(1)).await;
    owner.process.wait().await.unwrap();
}
