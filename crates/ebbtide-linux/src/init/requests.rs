//! The connections to an init: each carries one request, and an exec's lives as long as the exec's stream.

use std::os::fd::{AsFd, OwnedFd};

use ebbtide_model::ExitStatus;
use rustix::event::epoll;
use serde::Serialize;

use super::commands::Started;
use super::server::{Server, StartError};
use crate::protocol::{self, FromInit, ToInit};

/// The most connections at a time; far above what a daemon opens, far below the descriptor limit.
const MOST: usize = 4096;

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// The command that was started through it.
    command: Option<i32>,
    /// Whether it has said who has to be alive.
    has_armed: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, command: None, has_armed: false }
    }
}

/// The open connections by a number that is used again once it is free.
#[derive(Default)]
pub(super) struct Connections(Vec<Option<Connection>>);

impl Connections {
    pub(super) fn insert(&mut self, connection: Connection) -> usize {
        match self.0.iter().position(Option::is_none) {
            Some(free) => {
                self.0[free] = Some(connection);
                free
            }
            None if self.0.len() < MOST => {
                self.0.push(Some(connection));
                self.0.len() - 1
            }
            // Dropped: the other side sees a closed connection and reports it.
            None => MOST,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Connection> {
        self.0.get(index).and_then(Option::as_ref)
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Connection> {
        self.0.get_mut(index).and_then(Option::take)
    }

    /// Notes that a connection has said who has to be alive; returns whether it had said so before.
    pub(super) fn arms_again(&mut self, index: usize) -> bool {
        let connection = self.0.get_mut(index).and_then(Option::as_mut);
        connection.is_some_and(|connection| std::mem::replace(&mut connection.has_armed, true))
    }

    /// Tells whoever waits for it that a command has ended.
    pub(super) fn tell_exit(&mut self, pid: i32, status: ExitStatus) {
        for connection in self.0.iter_mut().flatten() {
            if connection.command == Some(pid) {
                let _ = protocol::send(&connection.socket, &FromInit::Exited(status), &[]);
            }
        }
    }
}

impl Server {
    /// Serves what has arrived on a connection.
    pub(super) fn request(&mut self, index: usize) {
        let Some(connection) = self.connections.get(index) else { return };
        match protocol::receive::<ToInit>(&connection.socket) {
            Ok((message, fds)) => self.serve(index, message, fds),
            Err(error) if error.is_would_block() => {}
            Err(_) => self.close(index),
        }
    }

    fn serve(&mut self, index: usize, message: ToInit, fds: Vec<OwnedFd>) {
        match message {
            ToInit::Start(_) if self.stopping() => self.answer(index, &FromInit::NotRunning),
            ToInit::Start(start) => match self.start(start, index, fds) {
                Ok(()) => self.answer(index, &FromInit::Started),
                Err(StartError::Spawn(error)) => self.answer(index, &FromInit::StartFailed(error)),
                Err(StartError::Mount(error)) => self.answer(index, &FromInit::MountFailed(error)),
                Err(StartError::UnknownUser) => self.answer(index, &FromInit::UnknownUser),
            },
            ToInit::Exec(_)
            | ToInit::File(_)
            | ToInit::Guard(_)
            | ToInit::Pause
            | ToInit::Resume
            | ToInit::EndProcesses
            | ToInit::AwaitMain
                if !self.is_running() =>
            {
                self.answer(index, &FromInit::NotRunning);
            }
            // What is about to be gone must not be waited for any longer than that takes.
            ToInit::Exec(_) | ToInit::File(_) if self.clearing.is_some() => {
                self.answer(index, &FromInit::NotRunning);
            }
            ToInit::Exec(_) | ToInit::File(_) if self.freezer.is_closed() => {
                self.answer(index, &FromInit::Paused);
            }
            ToInit::Guard(switch) => {
                self.arm(switch, index, fds.into_iter().next());
                self.answer(index, &FromInit::Done);
            }
            ToInit::Pause => self.pause(index),
            ToInit::Resume => self.resume(index),
            ToInit::EndProcesses => self.end_processes(index),
            ToInit::AwaitMain => self.await_main(index),
            ToInit::Exec(exec) => match self.commands.exec(exec) {
                None => self.answer(index, &FromInit::NotRunning),
                Some(Err(error)) => self.answer(index, &FromInit::ExecFailed(error)),
                Some(Ok(started)) => self.hand_over(index, &started, &FromInit::ExecStarted),
            },
            ToInit::File(task) => match self.commands.help(task) {
                None => self.answer(index, &FromInit::NotRunning),
                Some(Err(error)) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    self.answer(index, &FromInit::HelperFailed(errno));
                }
                Some(Ok(started)) => self.hand_over(index, &started, &FromInit::HelperStarted),
            },
            ToInit::Signal(signal) => {
                if let Some(pid) = self.connections.get(index).and_then(|connection| connection.command) {
                    self.commands.signal(pid, signal);
                }
            }
            ToInit::Stop { grace } => {
                self.answer(index, &FromInit::Stopping);
                self.stop(grace);
            }
        }
    }

    /// Hands over a process's streams. They are closed here afterwards, so that only the other side holds them.
    fn hand_over(&mut self, index: usize, started: &Started, message: &FromInit) {
        let fds: Vec<_> = started.fds.iter().map(AsFd::as_fd).collect();
        let sent = self.connections.0[index].as_mut().is_some_and(|connection| {
            connection.command = Some(started.pid);
            protocol::send(&connection.socket, message, &fds).is_ok()
        });
        if !sent {
            self.close(index);
        }
    }

    pub(super) fn answer(&mut self, index: usize, message: &impl Serialize) {
        let sent = self
            .connections
            .get(index)
            .map(|connection| protocol::send(&connection.socket, message, &[]).is_ok());
        if sent != Some(true) {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.connections.remove(index) {
            let _ = epoll::delete(&self.epoll, &connection.socket);
            self.connection_lost(index);
            self.forget_waiting(index);
            if let Some(pid) = connection.command {
                self.commands.abandon(pid);
                self.arm_grace();
            }
        }
    }
}
