//! Networks of a test's own: a daemon, owners elsewhere, and between each of them a cable that loses what it is told to.
//!
//! Each lives in a network namespace that a process holds open for as long as this test holds its standard input: however
//! the test ends, nothing of its networks stays, and nothing of them is ever in reach of the machine's own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::started::Started;

/// No change of a network takes longer.
const LIMIT: Duration = Duration::from_secs(10);
/// The name of a card that nobody has: a packet for it is dropped without a word.
const NOBODY: &str = "02:00:00:00:ff:ff";

/// A namespace with a network of its own.
#[derive(Debug)]
pub struct Space {
    holder: Started,
    _held_by: ChildStdin,
}

impl Space {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Started::new(&mut command);
        let mut held_by = holder.stdin();
        // What comes back comes from inside.
        held_by.write_all(b"\n").expect("write to a namespace");
        holder.stdout().read_exact(&mut [0]).expect("a namespace; is this root?");
        let space = Self { holder, _held_by: held_by };
        space.ip("link set lo up\n");
        space
    }

    /// A command that runs in here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.pid())).arg("--").arg(program);
        command
    }

    /// Does something in here, on a thread of its own. What it opens stays in here.
    ///
    /// # Panics
    /// As `inside` does.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.holder.pid());
        let inside = || {
            let namespace = File::open(path).expect("open a namespace");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("enter a namespace");
            inside()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn ip(&self, batch: &str) {
        let mut ip = Started::new(self.command("ip").args(["-batch", "-"]).stdin(Stdio::piped()));
        ip.stdin().write_all(batch.as_bytes()).expect("write to ip");
        assert!(ip.wait(LIMIT).success(), "ip has refused:\n{batch}");
    }
}

/// Which way what is sent is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// What the owner sends.
    ToDaemon,
    /// What the daemon sends.
    ToOwner,
    /// Whatever either sends.
    Everything,
}

/// A daemon's place, and a cable from there to each owner's.
#[derive(Debug)]
pub struct Network {
    daemon: Space,
    owners: Vec<Space>,
}

impl Network {
    /// One with so many owners.
    ///
    /// # Panics
    /// When the kernel refuses it: that takes root.
    pub fn new(owners: usize) -> Self {
        let network = Self { daemon: Space::new(), owners: (0..owners).map(|_| Space::new()).collect() };
        for (n, owner) in network.owners.iter().enumerate() {
            let (pid, address) = (owner.holder.pid(), network.address(n));
            let (card, other) = (card(n, "01"), card(n, "02"));
            network.daemon.ip(&format!(
                "link add owner{n} address {card} type veth peer name cable address {other} netns {pid}\n\
                 address add {address}/24 dev owner{n}\n\
                 link set owner{n} up\n"
            ));
            owner.ip(&format!("address add 198.18.{n}.2/24 dev cable\nlink set cable up\n"));
            // Nobody asks for anybody: an answer that is lost would be noticed as no packet that is lost is.
            network.heal(n);
        }
        network
    }

    /// Where the daemon is.
    pub fn daemon(&self) -> &Space {
        &self.daemon
    }

    /// Where an owner is.
    pub fn owner(&self, owner: usize) -> &Space {
        &self.owners[owner]
    }

    /// The daemon's address at the end of an owner's cable.
    pub fn address(&self, owner: usize) -> String {
        format!("198.18.{owner}.1")
    }

    /// From now on what is sent over an owner's cable is lost, and neither side is told.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn lose(&self, owner: usize, lost: Lost) {
        if lost != Lost::ToDaemon {
            self.daemon.ip(&neighbour(&format!("198.18.{owner}.2"), NOBODY, &format!("owner{owner}")));
        }
        if lost != Lost::ToOwner {
            self.owners[owner].ip(&neighbour(&self.address(owner), NOBODY, "cable"));
        }
    }

    /// Nothing more is lost over an owner's cable.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn heal(&self, owner: usize) {
        let (here, there) = (card(owner, "01"), card(owner, "02"));
        self.daemon.ip(&neighbour(&format!("198.18.{owner}.2"), &there, &format!("owner{owner}")));
        self.owners[owner].ip(&neighbour(&self.address(owner), &here, "cable"));
    }
}

fn card(owner: usize, side: &str) -> String {
    format!("02:00:00:00:{owner:02x}:{side}")
}

fn neighbour(address: &str, card: &str, device: &str) -> String {
    format!("neighbour replace {address} lladdr {card} nud permanent dev {device}\n")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cable_loses_what_it_is_told_to_and_nothing_once_it_is_healed() {
        let network = Network::new(2);
        let bind = |space: &Space, address: &str| {
            let socket = space.run(|| UdpSocket::bind((address, 0))).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket
        };
        for owner in 0..2 {
            let daemon = bind(network.daemon(), &network.address(owner));
            let there = bind(network.owner(owner), &format!("198.18.{owner}.2"));
            let comes = |from: &UdpSocket, to: &UdpSocket| {
                from.send_to(b"x", to.local_addr().unwrap()).unwrap();
                to.recv(&mut [0]).is_ok()
            };
            let works = || (comes(&there, &daemon), comes(&daemon, &there));
            assert_eq!(works(), (true, true));
            network.lose(1 - owner, Lost::Everything);
            assert_eq!(works(), (true, true), "another cable's loss");
            for (lost, expected) in [
                (Lost::ToDaemon, (false, true)),
                (Lost::ToOwner, (true, false)),
                (Lost::Everything, (false, false)),
            ] {
                network.lose(owner, lost);
                assert_eq!(works(), expected, "{lost:?}");
                network.heal(owner);
                assert_eq!(works(), (true, true), "healed of {lost:?}");
            }
            network.heal(1 - owner);
        }
    }
}
