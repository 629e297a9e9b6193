//! The end of a daemon that nobody uses, and that it cuts nobody off.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ebbtide_server::{ServeEnd, Server};
use tokio::time::{sleep, timeout};

use crate::daemon::{Client, Daemon, SOON};

const LIMIT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_server_that_nobody_uses_ends() {
    let daemon = Daemon::start_with(|config| config.idle_exit = Some(LIMIT)).await;
    let socket = daemon.config.socket.clone();
    drop(daemon.client().await);
    assert_eq!(daemon.ended().await, ServeEnd::Idle);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_connection_or_a_sandbox_keeps_it_alive() {
    let daemon = Daemon::start_with(|config| config.idle_exit = Some(LIMIT)).await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    sleep(3 * LIMIT).await;
    drop(client);
    sleep(3 * LIMIT).await;
    assert!(!daemon.task.is_finished(), "its sandbox lives");
    let mut client = daemon.client().await;
    client.delete(&id).await.unwrap();
    client.wait(&id).await.unwrap();
    sleep(3 * LIMIT).await;
    client.info().await.expect("a connection that is held is served");
    drop(client);
    assert_eq!(daemon.ended().await, ServeEnd::Idle);
}

/// Clients come about when the server goes, over and over. Each either finds nobody or is served to the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_was_let_in_is_never_cut_off() {
    const IDLE: Duration = Duration::from_millis(2);
    let daemon = Daemon::start_with(|config| config.idle_exit = Some(IDLE)).await;
    let (config, control) = (daemon.config.clone(), daemon.control.clone());
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3u64)
        .map(|number| {
            let (socket, done) = (config.socket.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut served, mut nobody) = (0, 0);
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    // Around the time of the idle exit, from a little before to a little after.
                    sleep(Duration::from_micros(1000 + (round * 370 + number * 4111) % 6000)).await;
                    let mut client = match Client::connect(&socket).await {
                        Ok(client) => client,
                        Err(error)
                            if [ErrorKind::NotFound, ErrorKind::ConnectionRefused]
                                .contains(&error.kind()) =>
                        {
                            nobody += 1;
                            continue;
                        }
                        Err(error) => panic!("let in and cut off: {error}"),
                    };
                    client.info().await.expect("the first call");
                    if round % 16 == 0 {
                        sleep(2 * IDLE).await;
                        client.info().await.expect("a later call");
                    }
                    served += 1;
                }
                (served, nobody)
            })
        })
        .collect();
    let mut ends = 0;
    let restarts = async {
        assert_eq!(daemon.task.await.unwrap(), ServeEnd::Idle);
        while ends < 100 {
            sleep(Duration::from_micros(500)).await;
            let server = Server::bind(config.clone()).unwrap();
            assert_eq!(server.run(control.clone(), std::future::pending()).await.unwrap(), ServeEnd::Idle);
            ends += 1;
        }
    };
    timeout(6 * SOON, restarts).await.expect("the server comes and goes");
    done.store(true, Ordering::Relaxed);
    let (mut served, mut nobody) = (0, 0);
    for client in clients {
        let (mine, none) = client.await.unwrap();
        (served, nobody) = (served + mine, nobody + none);
    }
    assert!(served > 0 && nobody > 0, "{served} served, {nobody} found nobody: no race was run");
}
