//! The network that programs elsewhere call over: a namespace for them, joined to the machine's by a pair of virtual
//! interfaces. The daemon is in the machine's own, for any command may start it.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use ebbtide_tests::{Started, holds_within};

/// A hardware address that nobody has: what is sent there arrives and is for nobody.
const NOBODY: &str = "02:00:00:00:00:fe";

/// Both ends. The namespace is held by a process that ends with this one, whatever kills it, and all else goes with that.
pub(crate) struct Network {
    holder: Started,
    interface: String,
    here: End,
    there: End,
}

struct End {
    address: Ipv4Addr,
    hardware: String,
}

impl Network {
    /// Makes one, with addresses that are for measuring and lead nowhere (198.18.0.0/15).
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let holder = Started::new(&mut holder);
        let pid = holder.pid();
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let apart = || space(&pid.to_string()).is_some_and(|there| Some(there) != space("self"));
        assert!(holds_within(Duration::from_secs(10), apart), "no network namespace");
        let interface = format!("ebbt{pid}");
        let block = pid % 0x8000;
        let address = |host: u32| Ipv4Addr::from(0xc612_0000 | block << 2 | host);
        run(
            "ip",
            &["link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", &pid.to_string()],
        );
        let there =
            |args: &[&str]| run("nsenter", &[&["--target", &pid.to_string(), "--net", "ip"], args].concat());
        let hardware = |said: String| said.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let mut network = Self {
            here: End { address: address(1), hardware: String::new() },
            there: End { address: address(2), hardware: String::new() },
            holder,
            interface,
        };
        let (ours, theirs) = (format!("{}/30", address(1)), format!("{}/30", address(2)));
        run("ip", &["address", "add", &ours, "dev", &network.interface]);
        run("ip", &["link", "set", &network.interface, "up"]);
        there(&["address", "add", &theirs, "dev", "eth0"]);
        there(&["link", "set", "eth0", "up"]);
        network.here.hardware = hardware(run("ip", &["-br", "link", "show", "dev", &network.interface]));
        network.there.hardware = hardware(there(&["-br", "link", "show", "dev", "eth0"]));
        network.silence(false, false);
        network
    }

    /// The address of the daemon.
    pub(crate) fn here(&self) -> Ipv4Addr {
        self.here.address
    }

    /// A command that runs elsewhere.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.pid().to_string(), "--net", "--"]).arg(program);
        command
    }

    /// Lets what is sent from here, from there, or from both get lost without a word; or arrive again.
    pub(crate) fn silence(&self, from_here: bool, from_there: bool) {
        let to = |end: &End, lost: bool| if lost { NOBODY.to_owned() } else { end.hardware.clone() };
        let neighbour = |end: &End, lost: bool, device: &str| {
            let (address, hardware) = (end.address.to_string(), to(end, lost));
            let words =
                ["neighbour", "replace", &address, "lladdr", &hardware, "nud", "permanent", "dev", device];
            words.map(str::to_owned)
        };
        let here = neighbour(&self.there, from_here, &self.interface);
        run("ip", &here.each_ref().map(String::as_str));
        let there = self.command("ip").args(neighbour(&self.here, from_there, "eth0")).status();
        assert!(there.is_ok_and(|status| status.success()), "ip does not work in the namespace");
    }

    /// Resets every connection, as a firewall does that was started anew.
    pub(crate) fn reset(&self) {
        let there = self.there.address.to_string();
        // It says which there were, and complains where one has gone meanwhile.
        let _ = Command::new("ss").args(["--no-header", "--kill", "dst", &there]).output();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.holder.kill();
        // It goes with the namespace; the kernel takes its time for that, and we do not leave before.
        let _ = Command::new("ip").args(["link", "delete", &self.interface]).output();
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("start a program");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
